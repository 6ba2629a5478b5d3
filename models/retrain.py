"""A snapshot of feedback -> a challenger in the model registry. `python -m models.retrain --snapshot DIR --work DIR`.

Trains in a clone of the project that this is run in, as it is committed, so that nobody's work is touched: the
corrections become rows of its questions, `dvc repro` does the rest, and the release is registered, also one below the
bar of its own reports: here the gate decides. Killed and started again, with the same folders, it goes on: a clone is
there whole or not at all, and DVC knows which stages have ended. In the work folder, `steps.jsonl` tells how far it
is, `result.json` at the end what was registered. Exit code 69: this machine cannot train.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from models.errors import BadInput
from models.files import read_yaml
from models.params import merged
from models.paths import MODELS, PARAMS
from models.stage import exit_code

UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
NEEDED = ("dvc", "mlflow", "peft", "sklearn", "torch")  # what only the extra `train` brings all of
STEPS, RESULT, CLONE = "steps.jsonl", "result.json", "project"
REMEDY = "Look at what it has printed before."
PROJECT_REMEDY = "CAPSTONE_RETRAIN_PROJECT must name a git checkout of Capstone, with its base weights fetched."


def cloned(project: Path, clone: Path, overlay: Path | None) -> Path:
    """The committed state of `project`, with the parameters of `overlay` put over its own, and the bases in place.

    Does nothing if it is there. Raises BadInput if `project` cannot be cloned.
    """
    if clone.exists():
        return clone
    if not (project / MODELS).is_dir():
        raise BadInput(project / MODELS, "there are no base weights", remedy=PROJECT_REMEDY)
    made = clone.with_name(f"{clone.name}.part")  # not staged: that would change the modes of files that are linked
    shutil.rmtree(made, ignore_errors=True)
    command = ["git", "clone", "--quiet", str(project), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["git failed"]
        raise BadInput(project, f"it cannot be cloned ({said[0]})", remedy=PROJECT_REMEDY)
    if overlay is not None:
        params = merged(read_yaml(made / PARAMS, remedy=PROJECT_REMEDY), read_yaml(overlay, remedy=PROJECT_REMEDY))
        (made / PARAMS).write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    shutil.copytree(project / MODELS, made / MODELS, copy_function=_link)
    made.rename(clone)
    return clone


def environment(clone: Path) -> dict[str, str]:
    """Of a command in the clone: its own modules, this interpreter, and the raw files where they are now."""
    inside = {"PYTHONPATH": str(clone), "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    if local := os.environ.get("CAPSTONE_TRAIN_DATA"):
        inside["CAPSTONE_TRAIN_DATA"] = str(Path(local).resolve())  # the clone lies elsewhere
    inside["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {name: value for name, value in os.environ.items() if name != "CAPSTONE_GIT_COMMIT"}  # the clone has its own
    return ours | inside


def retrain(project: Path, snapshot: Path, work: Path, overlay: Path | None) -> None:
    """Raises BadInput, naming the step that did not succeed."""
    clone = work / CLONE
    with _step(work, "clone"):
        cloned(project, clone, overlay)
    with _step(work, "corrections"):
        _run(clone, "models.feedback", str(snapshot))
    with _step(work, "dvc repro"):
        # Another encoder would want every catalog embedded anew before its release could be compared with anything.
        _run(clone, "dvc", "freeze", "train_encoder")
        (clone / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)  # of a killed one: nobody else works in here
        _run(clone, "dvc", "repro")
    with _step(work, "register"):
        _run(clone, "models.register", "--below-bar", "--told", str(work / RESULT))


def _run(clone: Path, module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    status = subprocess.call(command, cwd=clone, env=environment(clone), stdin=subprocess.DEVNULL)
    if status != 0:
        raise BadInput(module, f"it has failed with status {status}", remedy=REMEDY)


@contextmanager
def _step(work: Path, name: str) -> Iterator[None]:
    began = time.time()
    _tell(work, {"name": name, "began_at": began})
    yield
    _tell(work, {"name": name, "began_at": began, "ended_at": time.time()})


def _tell(work: Path, step: dict[str, object]) -> None:
    with (work / STEPS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(step) + "\n")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m models.retrain", description="Make a challenger of feedback.")
    options.add_argument("--snapshot", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True, help="kept until the challenger is registered")
    options.add_argument("--overlay", type=Path, help="a file whose members go over those of params.yaml")
    given = options.parse_args()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"This machine cannot train: install the extra `train`, which brings {', '.join(missing)}.")
        return UNAVAILABLE
    given.work.mkdir(parents=True, exist_ok=True)
    snapshot, work = given.snapshot.resolve(), given.work.resolve()
    return exit_code(lambda: retrain(Path.cwd(), snapshot, work, given.overlay))


if __name__ == "__main__":
    sys.exit(main())
