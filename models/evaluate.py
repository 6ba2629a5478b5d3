"""Stage evaluate: the release -> figures, plots and model cards in reports/. `python -m models.evaluate`.

What is judged is the form that ships: half precision, the adapter merged into the base as serving does it.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from models.card import classifier_card, encoder_card, generator_card
from models.classifier import abstention
from models.classifier.calibrate import read_thresholds
from models.classifier.data import indices_of, read_examples
from models.classifier.evaluate import Split, Splits
from models.classifier.evaluate import evaluate as judge_classifier
from models.classifier.plots import abstention_svg, reliability_svg, roc_svg
from models.classifier.save import compare_forms
from models.classifier.train import MODEL
from models.data.sources import read_sources
from models.device import device
from models.encoder import evaluate as search
from models.files import staged_folder, write_json
from models.generator import evaluate as measure
from models.generator import plots
from models.generator.answers import Ids, answers
from models.generator.data import ExampleRow, answerable
from models.generator.data import read_examples as read_generator_examples
from models.generator.hints import hints
from models.generator.model import load_base, load_tokenizer, with_adapter
from models.generator.train import ADAPTER
from models.params import Params, load_params
from models.paths import CLASSIFIER, ENCODER, GENERATOR, MODELS, PARAMS, PREPARED, RELEASE, REPORTS
from models.progress import Steps
from models.provenance import facts_of, read_facts
from models.quiet import quiet
from models.remembered import Remembered, RememberedClassifier
from models.sources import ADAPTER_REMEDY
from models.stage import run_stage
from models.training import CURVE
from services.core.classifier import ClassifierConfig, TransformersClassifier
from services.core.encoder import open_encoder
from services.core.registry import ModelFiles, Release, resolve, resolve_release, verify
from services.core.release import ANSWER

ANSWER_TOKENS = 160  # what serving allows unless it is told otherwise
FORM_PAIRS = 1_000  # test pairs on which the shipped form is compared with the trained one
FORM_ANSWERS = 100  # and answers
VERDICT = "metrics.json"
TRAINED_REMEDY = "Train it again with `dvc repro`."


def evaluate(
    params: Params,
    models_dir: Path,
    prepared: Path,
    encoder: Path,
    classifier: Path,
    generator: Path,
    folder: Path,
    out: Path,
) -> None:
    """Write the reports on the release in `folder`, and on the encoder that it needs, to `out`.

    `encoder`, `classifier` and `generator` are the outputs of training, to compare the shipped forms with; what
    `models.restore` has put in their place tells nothing, so the comparison is that of the reports before, if they have
    one. Raises ModelProblem for a release that is damaged or does not fit, BadInput for unusable examples.
    """
    steps = Steps(Console())
    release = resolve_release(folder, models_dir)
    used = read_facts(prepared).made_of.sources
    data = {"sources": [source.model_dump(mode="json") for source in read_sources() if source.name in used]}
    with quiet(), staged_folder(out) as made:
        found = _encoder(models_dir, prepared, encoder, steps)
        write_json(made / "encoder.json", found | {"data": data})
        (made / "encoder.md").write_text(encoder_card(found | {"data": data}), encoding="utf-8")

        report = {"model": facts_of(release.classifier), "data": data}
        report |= _classifier(release, models_dir, prepared, classifier, out / "classifier.json", steps)
        first = report
        write_json(made / "classifier.json", report)
        (made / "reliability.svg").write_text(reliability_svg(report), encoding="utf-8")
        (made / "roc.svg").write_text(roc_svg(report), encoding="utf-8")
        (made / "abstention.svg").write_text(abstention_svg(report), encoding="utf-8")
        (made / "classifier.md").write_text(classifier_card(report), encoding="utf-8")

        rows = answerable(read_generator_examples(prepared / "examples.test.jsonl"))[: params.evaluate.max_questions]
        report = {"model": facts_of(release.adapter), "data": data}
        report |= _generator(release, models_dir, rows, generator, out / "generator.json", steps)
        write_json(made / "generator.json", report)
        (made / "generator.svg").write_text(plots.answers_svg(report), encoding="utf-8")
        (made / "generator.md").write_text(generator_card(report), encoding="utf-8")
        write_json(made / VERDICT, _verdict(release, found, first, report))
        for name, folder in (("encoder", encoder), ("classifier", classifier), ("generator", generator)):
            _write_curves(folder / CURVE, made / "curves", name)


def _encoder(models_dir: Path, prepared: Path, trained: Path, steps: Steps) -> dict[str, Any]:
    adapter = verify(trained, ADAPTER_REMEDY)
    rows = read_examples(prepared / "pairs.test.jsonl")
    tuned, base = (open_encoder(kind, models_dir, torch.get_num_threads()) for kind in ("tuned", "sentence"))
    return {"model": facts_of(adapter), "encoder": tuned.id} | search.report(rows, tuned, base, steps)


def _classifier(
    release: Release, models_dir: Path, prepared: Path, trained: Path, before: Path, steps: Steps
) -> dict[str, Any]:
    files = release.classifier
    shipped = RememberedClassifier(_judge(files, models_dir))
    whole = verify(trained / MODEL, TRAINED_REMEDY)
    parts = {}
    for name in ("train", "validation", "test"):
        path = prepared / f"pairs.{name}.jsonl"
        rows = read_examples(path)
        parts[name] = Split(rows, np.array(indices_of(rows, shipped.labels, path)))
    splits = Splits(**parts)
    temperature = ClassifierConfig.read(files.folder).temperature
    thresholds = read_thresholds(trained)
    report = judge_classifier(shipped, temperature, splits, thresholds, steps)
    with steps.step("sufficiency: which questions would be answered"):
        asked = abstention.questions_of(shipped, splits.test.examples)
        report["abstention"] = abstention.report(asked, release.thresholds[ANSWER])
    if whole.id == files.id:
        return report | {"form": form_before(before, files)}
    with steps.step("sufficiency: compare with the trained form"):
        compared = [row.input for row in splits.test.examples[:FORM_PAIRS]]
        return report | {"form": compare_forms(_judge(whole, models_dir), shipped, compared)}


def _generator(
    release: Release, models_dir: Path, rows: list[ExampleRow], trained: Path, before: Path, steps: Steps
) -> dict[str, Any]:
    base = resolve(models_dir, "generator")
    tokenizer = load_tokenizer(base)
    # The bar is what needs no training of ours.
    encoders = {
        name: Remembered(open_encoder(kind, models_dir, torch.get_num_threads()))
        for name, kind in {"best_sentence": "sentence", "tuned_sentence": "tuned"}.items()
    }
    judge = RememberedClassifier(_judge(release.classifier, models_dir))
    models = {"base": partial(load_base, base), "lora": partial(_adapted, base, release.adapter)}
    known: dict[str, dict[Ids, str]] = {name: {} for name in models}
    placed, scored, said = {}, {}, {}
    first, later = measure.placements(rows)
    for placement in (first, later):
        name = placement.name
        given = hints(placement.rows, judge, release.prompt.sentences)
        said[name] = measure.all_answers(
            placement, models, tokenizer, encoders, given, release.prompt, ANSWER_TOKENS, known, steps
        )
        scored[name] = measure.scores(placement.rows, said[name])
        placed[name] = measure.summary(scored[name])
    ours, theirs = said[later.name]["lora"], scored[later.name]["lora"]
    whole = verify(trained / ADAPTER, TRAINED_REMEDY)
    form = form_before(before, release.adapter)
    if whole.id != release.adapter.id:
        some = later.rows[:FORM_ANSWERS]
        with steps.step("the trained form answers", len(some)) as advance:
            model = _adapted(base, whole)
            same = answers(model, tokenizer, release.prompt, some, given[: len(some)], ANSWER_TOKENS, advance)
        whole_scores = measure.scores(some, {"lora": ours[: len(some)], "whole": same})
        form = {
            "trained": whole.id,
            "shipped": release.adapter.id,
            "answers": len(same),
            "same_answers": sum(a == b for a, b in zip(ours[: len(same)], same, strict=True)),
            "shipped_is_better_by": measure.summary(whole_scores)["lora_is_better_by"]["whole"],
        }
    return {
        "questions": len(later.rows),
        "passes": measure.passes(placed[later.name]),
        "placements": placed,
        "slices": measure.slices(later.rows, theirs),
        "failures": measure.failures(later.rows, ours, theirs),
        "form": form,
    }


def form_before(report: Path, shipped: ModelFiles) -> dict[str, Any] | None:
    """What an earlier `report` says of `shipped` beside the form that was trained; None if it does not."""
    form: dict[str, Any] = (json.loads(report.read_bytes()).get("form") if report.exists() else None) or {}
    return form if form.get("shipped") == shipped.id != form.get("trained") else None


def _judge(files: ModelFiles, models_dir: Path) -> TransformersClassifier:
    return TransformersClassifier(files, resolve(models_dir, "classifier-base"), torch.get_num_threads(), device())


def _verdict(
    release: Release, encoder: dict[str, Any], classifier: dict[str, Any], generator: dict[str, Any]
) -> dict[str, Any]:
    """Headline figures, and whether the release is better than what it has to beat: by the whole interval, for the
    encoder's MRR@10, the classifier's ROC-AUC and the generator's containment and ROUGE-L."""
    better = classifier["classifier_is_better_by"]
    passes = {f"classifier_beats_{name}": better[name]["roc_auc"]["low"] > 0 for name in ("tfidf", "passage_only")}
    answered = generator["placements"]["not_first"]["systems"]
    figures = {f"classifier_{name}": own["value"] for name, own in classifier["systems"]["classifier"].items()}
    for system, table in answered.items():
        figures |= {f"{system}_{metric}": table[metric]["value"] for metric in measure.MUST_WIN}
    figures |= {f"encoder_{name}": own["value"] for name, own in encoder["systems"]["tuned"].items()}
    passes |= {"encoder": encoder["passes"], "generator": generator["passes"]}
    return {"release": release.id, "passes": passes, "figures": figures}


def _write_curves(curve: Path, folder: Path, name: str) -> None:
    """The losses as two tables, step and loss, for `dvc plots`."""
    folder.mkdir(exist_ok=True)
    found = json.loads(curve.read_bytes())
    for part in ("train", "validation"):
        lines = ["step,loss", *(f"{point['step']},{point['loss']:.6f}" for point in found[part])]
        (folder / f"{name}.{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _adapted(base: ModelFiles, adapter: ModelFiles) -> Any:
    return with_adapter(load_base(base), adapter)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    trained = {"encoder": ENCODER, "classifier": CLASSIFIER, "generator": GENERATOR}
    for name, default in {
        "models-dir": MODELS,
        "prepared": PREPARED,
        **trained,
        "release": RELEASE,
        "out": REPORTS,
    }.items():
        options.add_argument(f"--{name}", type=Path, default=default)
    given = options.parse_args()
    evaluate(
        load_params(given.params),
        given.models_dir,
        given.prepared,
        given.encoder,
        given.classifier,
        given.generator,
        given.release,
        given.out,
    )


if __name__ == "__main__":
    run_stage(main)
