"""The whole offline path on a small scale, in a clean clone: `dvc repro` with models/smoke.yaml over params.yaml.

    python -m tests.train.smoke

Checks that every stage runs and leaves what it should, that a second run has nothing to do, that training again gives
the same weights and figures, that the release is served, and that the registry refuses it: its models are poor. Exits
with 1 if a check fails. The bases of this working tree are used; the manuals come from CAPSTONE_TRAIN_DATA, or from
where models/data/sources.yaml says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from models.export import MAX_BYTES
from models.files import sha256_of
from models.retrain import cloned
from models.retrain import environment as inside
from services.core.registry import resolve_release
from tests.checks import Checks

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 8 * 60
STAGES = ("train_encoder", "train_classifier", "train_generator")
WEIGHTS = (
    "models/encoder/adapter/adapter_model.safetensors",
    "data/train/classifier/model/model.safetensors",
    "data/train/generator/adapter/adapter_model.safetensors",
)
REPORTS = (
    "encoder.json",
    "encoder.md",
    "classifier.json",
    "classifier.md",
    "generator.json",
    "generator.md",
    "generator.svg",
    "metrics.json",
)

console = Console(highlight=False)


def main() -> int:
    checks = Checks(console)
    with tempfile.TemporaryDirectory(prefix="capstone-smoke-") as folder:
        clone = cloned(ROOT, Path(folder) / "clone", ROOT / "models" / "smoke.yaml")
        began = time.monotonic()
        done = repro(clone)
        took = time.monotonic() - began
        if done.returncode != 0:
            checks.check("dvc repro", False, done.returncode)
            return 1
        checks.check(f"dvc repro took less than {WITHIN_S} s", took < WITHIN_S, f"{took:.0f} s")
        check_outputs(checks, clone)
        again = repro(clone, capture=True)
        checks.check("a second dvc repro has nothing to do", "up to date" in again.stdout, again.stdout[-80:].strip())
        check_repeatable(checks, clone)
        check_registry(checks, clone)
    console.print(f"{checks.failed} failed")
    return 1 if checks.failed else 0


def environment(clone: Path) -> dict[str, str]:
    return inside(clone) | {"MLFLOW_TRACKING_URI": f"sqlite:///{clone / 'data' / 'smoke.db'}"}


def repro(clone: Path, *stages: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    return subprocess.run(command, cwd=clone, env=environment(clone), capture_output=capture, text=True, check=False)


def check_outputs(checks: Checks, clone: Path) -> None:
    release = resolve_release(clone / "release", clone / "data" / "models")
    size = sum(path.stat().st_size for path in (clone / "release").rglob("*") if path.is_file())
    checks.check("the release is whole and fits the bases", release.name == "smoke", release.id)
    checks.check(f"it is smaller than {MAX_BYTES} bytes", size < MAX_BYTES, f"{size / 1e6:.1f} MB")
    missing = [name for name in REPORTS if not (clone / "reports" / name).is_file()]
    checks.check("all reports are there", not missing, ", ".join(missing))
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "metrics", "show", "--json"],
        cwd=clone,
        env=environment(clone),
        capture_output=True,
        text=True,
        check=False,
    )
    checks.check("dvc knows the metrics", "lora_rougeL" in shown.stdout, shown.stderr[-200:])


def check_repeatable(checks: Checks, clone: Path) -> None:
    """Train once more from nothing. On one machine with the same number of threads every byte is the same."""
    before = {name: sha256_of(clone / name) for name in WEIGHTS}
    figures = metrics(clone)
    done = repro(clone, "--force", "--single-item", *STAGES, capture=True)
    checks.check("training again", done.returncode == 0, done.stderr[-300:])
    after = {name: sha256_of(clone / name) for name in WEIGHTS}
    checks.check("gives the same weights", before == after, "" if before == after else f"{before} {after}")
    done = repro(clone, capture=True)
    now = metrics(clone)
    furthest = max(abs(figures["figures"][name] - now["figures"][name]) for name in figures["figures"])
    checks.check("and the same figures to 0.001", done.returncode == 0 and furthest <= 0.001, f"{furthest:.6f}")


def metrics(clone: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((clone / "reports" / "metrics.json").read_bytes())
    return found


def check_registry(checks: Checks, clone: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "models.register"],
        cwd=clone,
        env=environment(clone),
        capture_output=True,
        text=True,
        check=False,
    )
    passes = all(metrics(clone)["passes"].values())
    said = done.stderr.strip().splitlines()[-1:] or [""]
    checks.check("a release that does not pass is not registered", not passes and done.returncode == 2, said[0])


if __name__ == "__main__":
    sys.exit(main())
