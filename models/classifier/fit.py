"""Rows + base -> a trained, calibrated, saved classifier of any name and labels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model

from models.classifier.calibrate import fit_temperature
from models.classifier.data import Example, indices_of, labels_of
from models.classifier.evaluate import Split, figures_of, probabilities_of
from models.classifier.model import collate, new_classifier, summed_loss, tokenised
from models.classifier.params import ClassifierParams
from models.classifier.save import Facts, save_classifier
from models.device import device
from models.errors import BadInput
from models.files import sha256_of_json
from models.provenance import training_of
from models.quiet import quiet
from models.schedule import Schedule
from models.tracking import tracked
from models.training import Curve, train
from services.core.classifier import ClassifierConfig, TransformersClassifier
from services.core.registry import ModelFiles, verify

REMEDY = "Train again."


@dataclass(frozen=True)
class Task:
    """Rows to train a classifier from. `path` names them in messages, `licence` is that of the weights.

    `short` are training and validation rows to learn from first, where there are any; `single` are some to learn from
    together with `train` and to stop by together with `validation`, but not to calibrate on.
    """

    name: str
    path: Path
    train: list[Example]
    validation: list[Example]
    data_sha256: str
    licence: str
    short: tuple[list[Example], list[Example]] | None = None
    single: tuple[list[Example], list[Example]] = ([], [])


@dataclass(frozen=True)
class Fitted:
    """`model` has the weights of the lowest validation loss and is not calibrated."""

    model: Any
    labels: tuple[str, ...]
    curve: Curve


def fit(task: Task, params: ClassifierParams, base: ModelFiles, out: Path, console: Console) -> Fitted | None:
    """Train; checkpoints lie beside `out`. None in all but the first of several processes.

    Raises BadInput for rows that nothing can be learned from.
    """
    labels, section = labels_of(task.train, task.path), params.model_dump(mode="json")
    _refuse_too_few(task.train, params.training, task.path)
    if task.short is not None and params.stretches is not None:
        _refuse_too_few(task.short[0], params.stretches.training, task.path)
    identity = {"base": base.id, "data": task.data_sha256}
    work = out.with_name(f".{out.name}.work")
    with quiet():
        model = new_classifier(params, labels, base)
    with tracked(f"train_classifier {task.name}", section, identity) as run:

        def learn(rows: list[Example], held_out: list[Example], schedule: Schedule, label: str) -> Curve | None:
            return _learn(
                model,
                [tokenised(base, params.max_tokens, p, indices_of(p, labels, task.path)) for p in (rows, held_out)],
                schedule,
                work=work / label,
                identity={**identity, "section": section},
                label=f"{task.name}, {label}",
                console=console,
                log=lambda step, figures: run.log(step, {f"{label}.{name}": value for name, value in figures.items()}),
            )

        if task.short is not None and params.stretches is not None:
            begun = work / "stretches.safetensors"
            # Of the second training only the seed matters here, by which the head was drawn.
            mark = sha256_of_json([identity, {**section, "training": {"seed": params.training.seed}}])
            if not _load_weights(model, begun, mark) and learn(*task.short, params.stretches.training, "stretches"):
                save_model(model, str(begun), {"made_from": mark})
        curve = learn(task.train + task.single[0], task.validation + task.single[1], params.training, "whole")
        if curve is None:
            return None
        run.summary({"validation_loss": min(point["loss"] for point in curve.validation)})
    shutil.rmtree(work, ignore_errors=True)
    return Fitted(model, labels, curve)


def _refuse_too_few(rows: list[Example], schedule: Schedule, path: Path) -> None:
    if len(rows) < schedule.batch_size:
        raise BadInput(
            path,
            f"it has {len(rows)} training rows, fewer than one batch of {schedule.batch_size}",
            remedy="Add rows, or lower classifier.training.batch_size.",
        )


def _learn(model: Any, rows: list[list[dict[str, Any]]], schedule: Schedule, **options: Any) -> Curve | None:
    lengths, held_out = [len(row["ids"]) for row in rows[0]], sorted(rows[1], key=lambda row: len(row["ids"]))
    return train(model, rows[0], lengths, held_out, collate, summed_loss, schedule, **options)


def _load_weights(model: Any, path: Path, mark: str) -> bool:
    """Take the weights that a killed run left after its first part, if they were made from the same."""
    try:
        with safe_open(path, framework="pt") as file:
            same = (file.metadata() or {}).get("made_from") == mark
    except (OSError, SafetensorError):
        return False
    if same:
        load_model(model, str(path))
    return same


def save_calibrated(
    folder: Path, fitted: Fitted, task: Task, params: ClassifierParams, base: ModelFiles
) -> tuple[Facts, dict[str, Any]]:
    """Save to the empty `folder` with the temperature that fits the validation rows; returns figures on those.

    What is calibrated is the saved form, as it is served.
    """
    config = ClassifierConfig(task.name, fitted.labels, 1.0, params.max_tokens)
    training = training_of(base.id, task.data_sha256, params.model_dump(mode="json"), {})
    facts = Facts(config, training, f"trained on {task.path.name}", task.licence)
    save_classifier(folder, fitted.model, facts)
    held_out = as_split(task.validation, fitted.labels, task.path)
    raw = probabilities_of(served(folder, base), held_out.examples)
    temperature = fit_temperature(held_out.truth, raw)
    figures = figures_of(held_out.truth, raw, temperature, held_out.examples)
    metrics = {name: value for name, value in figures.items() if isinstance(value, float)}
    facts = replace(facts, config=replace(config, temperature=temperature), training=replace(training, metrics=metrics))
    save_classifier(folder, fitted.model, facts)
    return facts, figures


def served(folder: Path, base: ModelFiles) -> TransformersClassifier:
    return TransformersClassifier(verify(folder, REMEDY), base, torch.get_num_threads(), device())


def as_split(examples: Sequence[Example], labels: Sequence[str], path: Path) -> Split:
    return Split(list(examples), np.array(indices_of(examples, labels, path)))
