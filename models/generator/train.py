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
from models.generator.model import load_tokenizer, with_new_adapter
from models.generator.save import ADAPTER, save_adapter
from models.params import Params, load_params
from models.paths import GENERATOR, MODELS, PARAMS, PREPARED
from models.progress import Advance, Steps
from models.provenance import read_facts, training_of
from models.quiet import quiet
from models.remembered import Remembered
from models.stage import run_stage
from models.tracking import tracked
from models.training import CURVE, train
from services.core.encoder import Encoder, open_encoder
from services.core.prompt import DEFAULT_PROMPT
from services.core.registry import resolve


def train_generator(params: Params, models_dir: Path, prepared: Path, out: Path, console: Console) -> None:
    """Write the adapter with the lowest validation loss, its curve and its manifest to `out`.

    Raises BadInput for unusable examples or parameters, ModelProblem for an unusable base.
    """
    base, facts = resolve(models_dir, "generator"), read_facts(prepared)
    tokenizer = load_tokenizer(base)
    paths = {name: prepared / f"examples.{name}.jsonl" for name in ("train", "validation")}
    rows = {name: answerable(read_examples(path)) for name, path in paths.items()}
    rows["train"] = at_most(rows["train"], SQUAD, params.generator.max_squad)
    encoder = Remembered(open_encoder("sentence", models_dir, torch.get_num_threads()))
    splits = {}
    for name, path in paths.items():
        with Steps(console).step(f"generator: read the {name} examples", len(rows[name])) as advance:
            splits[name] = _tokens(path, rows[name], tokenizer, encoder, params.generator.max_tokens, advance)
    schedule, identity = params.generator.training, {"base": base.id, "data": facts.data_sha256}
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
        save_adapter(made / ADAPTER, model, training_of(base.id, facts.data_sha256, section, metrics))
        curve.write(made / CURVE)
        write_json(made / "figures.json", figures)


def _tokens(
    path: Path, rows: list[ExampleRow], tokenizer: Any, encoder: Encoder, max_tokens: int, advance: Advance
) -> list[Tokens]:
    """Those that are not too long. Raises BadInput, about `path`, if none is left."""
    short = []
    for row in rows:
        tokens = tokenise(tokenizer, DEFAULT_PROMPT, row, encoder)
        if len(tokens) <= max_tokens:
            short.append(tokens)
        advance(1)
    if not short:
        raise BadInput(path, f"it has no example with a gold passage and at most {max_tokens} tokens", remedy=REMEDY)
    return short


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=PARAMS)
    options.add_argument("--models-dir", type=Path, default=MODELS)
    options.add_argument("--prepared", type=Path, default=PREPARED)
    options.add_argument("--out", type=Path, default=GENERATOR)
    given = options.parse_args()
    train_generator(load_params(given.params), given.models_dir, given.prepared, given.out, Console())


if __name__ == "__main__":
    run_stage(main)
