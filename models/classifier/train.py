"""Stage train_classifier: prepared pairs + base -> the classifier "sufficiency". `python -m models.classifier.train`.

With `--data` the same training makes any other classifier from rows of one's own:
`python -m models.classifier.train --data topics.csv --name topics --out data/models/classifiers/topics`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from models.classifier import abstention
from models.classifier.abstention import questions_of
from models.classifier.calibrate import FIGURES, best_threshold
from models.classifier.data import Example, labels_of, read_examples
from models.classifier.evaluate import probabilities_of
from models.classifier.fit import Task, as_split, fit, save_calibrated, served
from models.classifier.own import CURVE, train_own
from models.classifier.params import ClassifierParams
from models.classifier.sentences import sentences
from models.classifier.stretches import Evidence, cloze, read_evidence, stretches
from models.errors import BadInput
from models.files import staged_folder, write_json
from models.params import Params, load_params
from models.paths import CLASSIFIER, MODELS, PARAMS, PREPARED
from models.progress import Steps
from models.provenance import REMEDY, read_facts
from models.remembered import RememberedClassifier
from models.stage import run_stage
from services.core.classifier import OverlapClassifier
from services.core.registry import resolve
from services.core.release import ANSWER

NAME = "sufficiency"
LICENCE = "Apache-2.0"
MODEL = "model"  # folder below the output of the stage
Part = tuple[list[Example], dict[str, Evidence]]  # pairs, and the evidence of each group of them
Parts = tuple[Part, Part]  # for training, for validation


def train_stage(params: Params, models_dir: Path, prepared: Path, out: Path, console: Console) -> None:
    """Replace `out` by model/, curve.json and figures.json, which has the threshold of the positive label.

    Raises BadInput for unusable rows, ModelProblem for an unusable base.
    """
    base, facts = resolve(models_dir, "classifier-base"), read_facts(prepared)
    paths = [prepared / f"pairs.{part}.jsonl" for part in ("train", "validation")]
    train_rows, validation_rows = (read_examples(path, REMEDY) for path in paths)
    labels = OverlapClassifier().labels
    for rows, path in zip((train_rows, validation_rows), paths, strict=True):
        if labels_of(rows, path) != labels:
            raise BadInput(path, f"its labels are not {' and '.join(labels)}", remedy=REMEDY)
    known = [read_evidence(prepared / f"examples.{part}.jsonl") for part in ("train", "validation")]
    parts: Parts = ((train_rows, known[0]), (validation_rows, known[1]))
    short, single = _short(params.classifier, parts, labels), _single(params.classifier, parts, labels)
    task = Task(NAME, paths[0], train_rows, validation_rows, facts.data_sha256, LICENCE, short, single)
    fitted = fit(task, params.classifier, base, out, console)
    if fitted is None:
        return
    with staged_folder(out) as made:
        (made / MODEL).mkdir()
        _, figures = save_calibrated(made / MODEL, fitted, task, params.classifier, base)
        held_out = as_split(validation_rows, labels, paths[1])
        judge = RememberedClassifier(served(made / MODEL, base))
        scores = probabilities_of(judge, validation_rows)[:, 1]
        answer = abstention.threshold(questions_of(judge, validation_rows), params.classifier.max_refused)
        thresholds = {labels[1]: round(best_threshold(held_out.truth, scores), 6), ANSWER: round(answer, 6)}
        fitted.curve.write(made / CURVE)
        write_json(made / FIGURES, {"thresholds": thresholds, "validation": figures})
    shown = ", ".join(f"{name} {figures[name]:.3f}" for name in ("accuracy", "macro_f1", "roc_auc", "gold_first"))
    Steps(console).note(f"{NAME}: on {len(validation_rows)} validation rows {shown}; in {out}")


def _short(
    params: ClassifierParams, parts: Parts, labels: tuple[str, ...]
) -> tuple[list[Example], list[Example]] | None:
    if params.stretches is None:
        return None
    (negative, positive), seed = labels, params.training.seed
    train, validation = (stretches(*part, positive, params.stretches, seed) for part in parts)
    return train + cloze(parts[0][0], positive, negative, params.stretches, seed), validation


def _single(params: ClassifierParams, parts: Parts, labels: tuple[str, ...]) -> tuple[list[Example], list[Example]]:
    if params.sentences is None:
        return [], []
    train, validation = (sentences(*part, labels[1], params.sentences, params.training.seed) for part in parts)
    return train, validation


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    options.add_argument("--models-dir", type=Path, default=MODELS)
    options.add_argument("--prepared", type=Path, default=PREPARED)
    options.add_argument("--data", type=Path, help="rows of one's own (.csv or .jsonl) instead of --prepared")
    options.add_argument("--name", help="of the classifier that is made from --data")
    options.add_argument("--licence", default="not stated", help="of the weights that are made from --data")
    options.add_argument("--out", type=Path, help=f"default: {CLASSIFIER}; with --data: MODELS_DIR/classifiers/NAME")
    given = options.parse_args()
    if (given.data is None) != (given.name is None):
        options.error("--data and --name are given together")
    params, console = load_params(given.params), Console()
    if given.data is None:
        train_stage(params, given.models_dir, given.prepared, given.out or CLASSIFIER, console)
    else:
        out = given.out or given.models_dir / "classifiers" / given.name
        train_own(params.classifier, given.models_dir, given.data, given.name, given.licence, out, console)


if __name__ == "__main__":
    run_stage(main)
