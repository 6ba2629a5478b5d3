"""What ships -> the outputs of the two trainings, for a machine that does not have them. `python -m models.restore`.

The classifier takes hours without a GPU. With its output made from the release, the stages after it can run:
`dvc repro --single-item train_generator`, `export`, `evaluate`. Weights are in the half precision of the release.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from models.classifier.calibrate import FIGURES
from models.classifier.train import MODEL
from models.errors import BadInput
from models.files import staged_folder, write_json
from models.generator.train import ADAPTER
from models.paths import CLASSIFIER, GENERATOR, MODELS, RELEASE, REPORTS
from models.stage import run_stage
from models.training import CURVE
from services.core.registry import Release, resolve_release
from services.core.release import SUPPORT

REMEDY = "Bring the folder back with `git checkout`."


def restore(models_dir: Path, release: Path, reports: Path, classifier: Path, generator: Path) -> list[Path]:
    """Make those of the folders `classifier` and `generator` that are not there, and return them.

    Raises ModelProblem for a release that is damaged or does not fit, BadInput if the reports have no curve of it.
    """
    shipped = resolve_release(release, models_dir)
    made = []
    for out, write in ((classifier, _write_classifier), (generator, _write_generator)):
        if not out.exists():
            with staged_folder(out) as folder:
                write(shipped, reports / "curves", folder)
            made.append(out)
    return made


def _write_classifier(shipped: Release, curves: Path, out: Path) -> None:
    shutil.copytree(shipped.classifier.folder, out / MODEL)
    thresholds = {name: value for name, value in shipped.thresholds.items() if name != SUPPORT}
    write_json(out / FIGURES, {"thresholds": thresholds})
    write_json(out / CURVE, _curve(curves, "classifier"))


def _write_generator(shipped: Release, curves: Path, out: Path) -> None:
    shutil.copytree(shipped.adapter.folder, out / ADAPTER)
    curve = _curve(curves, "generator")
    write_json(out / "figures.json", {"validation_loss": min(point["loss"] for point in curve["validation"])})
    write_json(out / CURVE, curve)


def _curve(folder: Path, name: str) -> dict[str, Any]:
    """As `Curve.write` writes it; the reports keep no learning rates."""
    train, validation = (_points(folder / f"{name}.{part}.csv") for part in ("train", "validation"))
    best = min(validation, key=lambda point: point["loss"])
    steps = int(max(point["step"] for point in [*train, *validation]))
    return {"best_step": int(best["step"]), "steps": steps, "train": train, "validation": validation}


def _points(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = [{"step": int(float(row["step"])), "loss": float(row["loss"])} for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(path, f"it holds no curve ({type(error).__name__} {error})", remedy=REMEDY) from error
    if not found:
        raise BadInput(path, "it holds no curve", remedy=REMEDY)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    folders = {"models-dir": MODELS, "release": RELEASE, "reports": REPORTS}
    for name, default in {**folders, "classifier": CLASSIFIER, "generator": GENERATOR}.items():
        options.add_argument(f"--{name}", type=Path, default=default)
    given = options.parse_args()
    made = restore(given.models_dir, given.release, given.reports, given.classifier, given.generator)
    Console().print(f"made {', '.join(map(str, made))}" if made else "both are there, nothing to do", soft_wrap=True)


if __name__ == "__main__":
    run_stage(main)
