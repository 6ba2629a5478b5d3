"""Stage train_generator: prepared examples + base -> a LoRA adapter. `python -m models.generator.train`.

Runs the same on one processor, on one GPU, and on several of either: `torchrun --nproc-per-node N -m
models.generator.train`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from rich.console import Console

from models.adapter import save_adapter
from models.classifier.fit import served
from models.classifier.train import MODEL
from models.errors import BadInput
from models.files import staged_folder, write_json
from models.generator.data import (
    REMEDY,
    SQUAD,
    ExampleRow,
    Tokens,
    answer_loss,
    answerable,
    at_most,
    collate,
    read_examples,
    tokenise,
)
from models.generator.hints import Hints, hints, told_in_each
from models.generator.model import load_tokenizer, with_new_adapter
from models.generator.targets import target
from models.params import Params, load_params
from models.paths import CLASSIFIER, GENERATOR, MODELS, PARAMS, PREPARED
from models.progress import Advance, Steps
from models.provenance import read_facts, training_of
from models.quiet import quiet
from models.stage import run_stage
from models.tracking import tracked
from models.training import CURVE, train
from services.core.classifier import Classifier
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import resolve

NAME = "smollm2-grounded"
ADAPTER = "adapter"  # folder below the output of the stage
AT_ONCE = 64  # examples whose sentences are classified together


def train_generator(
    params: Params, models_dir: Path, prepared: Path, classifier: Path, out: Path, console: Console
) -> None:
    """Write the adapter with the lowest validation loss, its curve and its manifest to `out`.

    `classifier` is the output of its training: it chooses the sentences that a prompt repeats. Raises BadInput for
    unusable examples or parameters, ModelProblem for an unusable base or classifier.
    """
    base, facts = resolve(models_dir, "generator"), read_facts(prepared)
    tokenizer = load_tokenizer(base)
    paths = {name: prepared / f"examples.{name}.jsonl" for name in ("train", "validation")}
    rows = {name: answerable(read_examples(path)) for name, path in paths.items()}
    rows["train"] = at_most(rows["train"], params.generator.max_squad, SQUAD)
    rows["train"] = at_most(rows["train"], params.generator.max_examples)
    schedule = params.generator.training
    judge = served(classifier / MODEL, resolve(models_dir, "classifier-base"))
    splits = {}
    for name, (own, given) in _chosen(rows, judge, Steps(console)).items():
        with Steps(console).step(f"generator: read the {name} examples", len(own)) as advance:
            splits[name] = _tokens(paths[name], own, tokenizer, given, params.generator.max_tokens, advance)
    identity = {"base": base.id, "data": facts.data_sha256, "classifier": judge.id}
    torch.manual_seed(schedule.seed)  # the adapter starts from random numbers
    with quiet():
        model = with_new_adapter(params.generator, base)
    figures = {"examples": len(splits["train"]), "trainable_parameters": model.get_nb_trainable_parameters()[0]}
    section = params.generator.model_dump(mode="json")
    with (
        tracked("train_generator", section, {**identity, "prompt": DEFAULT_PROMPT.id}) as run,
        disable_input_dtype_casting(model),  # autocast does it, once
    ):
        curve = train(
            model,
            splits["train"],
            [len(tokens) for tokens in splits["train"]],
            splits["validation"],
            partial(collate, pad_token_id=tokenizer.pad_token_id),
            answer_loss,
            schedule,
            work=out.with_name(out.name + ".work"),
            identity={**identity, "prompt": DEFAULT_PROMPT.id, "section": section},
            label="generator",
            console=console,
            log=run.log,
        )
        if curve is None:
            return  # another process writes
        figures["validation_loss"] = min(point["loss"] for point in curve.validation)
        run.summary(figures)
    metrics = {"validation_loss": figures["validation_loss"]}
    with staged_folder(out) as made:
        save_adapter(made / ADAPTER, model, NAME, training_of(base.id, facts.data_sha256, section, metrics))
        curve.write(made / CURVE)
        write_json(made / "figures.json", figures)


def _chosen(
    asked: dict[str, list[ExampleRow]], judge: Classifier, steps: Steps
) -> dict[str, tuple[list[ExampleRow], Hints]]:
    """For each split the rows that can be answered from their sentences, and these."""
    given: dict[str, Hints] = {name: [] for name in asked}
    for name, own in asked.items():
        with steps.step(f"generator: {judge.id} chooses sentences to {name} with", len(own)) as advance:
            for at in range(0, len(own), AT_ONCE):
                given[name] += hints(own[at : at + AT_ONCE], judge, DEFAULT_PROMPT.sentences)
                advance(len(own[at : at + AT_ONCE]))
    found = told_in_each(asked, given)
    for name, (rows, _) in found.items():
        steps.note(f"  generator: {len(rows)} of {len(asked[name])} {name} examples are learned from")
    return found


def _tokens(
    path: Path, rows: list[ExampleRow], tokenizer: Any, given: Hints, max_tokens: int, advance: Advance
) -> list[Tokens]:
    """Those that are not too long. Raises BadInput, about `path`, if none is left."""
    short = []
    for row, own in zip(rows, given, strict=True):
        said = target(row, own)
        tokens = tokenise(tokenizer, DEFAULT_PROMPT, row, own, said or "")
        if said and len(tokens) <= max_tokens:
            short.append(tokens)
        advance(1)
    if not short:
        raise BadInput(
            path, f"it has no example that its sentences answer in at most {max_tokens} tokens", remedy=REMEDY
        )
    return short


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    options.add_argument("--models-dir", type=Path, default=MODELS)
    options.add_argument("--prepared", type=Path, default=PREPARED)
    options.add_argument("--classifier", type=Path, default=CLASSIFIER)
    options.add_argument("--out", type=Path, default=GENERATOR)
    given = options.parse_args()
    params, console = load_params(given.params), Console()
    train_generator(params, given.models_dir, given.prepared, given.classifier, given.out, console)


if __name__ == "__main__":
    run_stage(main)
