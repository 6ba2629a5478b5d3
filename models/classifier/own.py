"""Rows of one's own -> a classifier of one's own, in a folder that the services find by themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from models.classifier.calibrate import FIGURES
from models.classifier.data import labels_of, read_examples, split
from models.classifier.evaluate import Splits, evaluate
from models.classifier.fit import Task, as_split, fit, save_calibrated, served
from models.classifier.params import ClassifierParams
from models.classifier.save import save_classifier
from models.errors import BadInput
from models.files import replace_folder, scratch_beside, sha256_of, write_json
from models.progress import Steps
from services.core.registry import resolve

CURVE = "curve.json"


def train_own(
    params: ClassifierParams, models_dir: Path, data: Path, name: str, licence: str, out: Path, console: Console
) -> None:
    """Train from the rows in `data` and replace the model folder `out`.

    Rows are split by group into train, validation and test; figures.json in the folder has the figures of the test
    rows, beside those of bags of words and of the commonest label. Raises BadInput for rows or a name of no use.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise BadInput(data, f"{name!r} cannot name a classifier", remedy="Use small letters, digits, '-' and '_'.")
    base, examples = resolve(models_dir, "classifier-base"), read_examples(data)
    labels = labels_of(examples, data)
    parts = split(examples, data, validation=params.validation_share, test=params.test_share, seed=params.training.seed)
    task = Task(name, data, parts[0], parts[1], sha256_of(data), licence)
    fitted = fit(task, params, base, out, console)
    if fitted is None:
        return
    steps = Steps(console)
    with scratch_beside(out) as scratch:
        trial, final = scratch / "trial", scratch / "final"
        trial.mkdir()
        facts, validation = save_calibrated(trial, fitted, task, params, base)
        splits = Splits(*(as_split(part, labels, data) for part in parts))
        report = evaluate(served(trial, base), facts.config.temperature, splits, {}, steps)
        final.mkdir()
        fitted.curve.write(final / CURVE)  # before the manifest, which lists every file
        write_json(final / FIGURES, {"validation": validation, "test": report})
        manifest = save_classifier(final, fitted.model, facts)
        replace_folder(final, out)
    for line in told(report):
        steps.note(line)
    steps.note(f"{manifest.id} is ready in {out}")


def told(report: dict[str, Any]) -> list[str]:
    """One line a system: accuracy and macro-F1 on the test rows, with 95 % intervals."""
    return [
        f"  {system}: accuracy {_figure(table['accuracy'])}, macro-F1 {_figure(table['macro_f1'])}"
        for system, table in report["systems"].items()
    ]


def _figure(facts: dict[str, float]) -> str:
    return f"{facts['value']:.3f} [{facts['low']:.3f}, {facts['high']:.3f}]"
