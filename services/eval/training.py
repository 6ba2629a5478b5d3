"""The command that makes a challenger of a snapshot, as a child process with a time limit. Knows nothing of training.

It runs in the project's folder, with `--snapshot FOLDER --work FOLDER`, and may be killed and started again with the
same folders. What it prints goes to the file `log` in the work folder; there it tells how far it is, one object a line
of `steps.jsonl` (name, began_at, ended_at), and at the end, in `result.json`, which version it has registered.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.core.errors import JobProblem
from services.core.settings import Settings
from services.core.warden import guarded, kill_group
from services.eval.retraining import LOG_MAX_CHARS

STEPS, RESULT, LOG = "steps.jsonl", "result.json", "log"
UNAVAILABLE = 69  # exit status, EX_UNAVAILABLE of sysexits.h: this machine cannot train
TIMED_OUT = "timed_out"
_DETAIL_MAX_CHARS = 1_000


@dataclass(frozen=True)
class Result:
    """`below_bar` names the bars of its own reports that the release does not reach."""

    version: str
    release: str
    below_bar: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    steps: list[dict[str, Any]]
    log: str


def train(settings: Settings, snapshot: Path, work: Path, *, within_s: float, look: Callable[[Told], None]) -> Result:
    """Run the command to its end. `look` is called again and again meanwhile; what it raises kills the command.

    Raises JobProblem: training_unavailable, training_failed, with the last line that was printed, or timed_out.
    """
    project = settings.retrain_project
    if project is None or not project.is_dir():
        raise JobProblem("training_unavailable", "CAPSTONE_RETRAIN_PROJECT names no folder on this machine.")
    work.mkdir(parents=True, exist_ok=True)
    give_up_at = time.monotonic() + within_s
    with (work / LOG).open("ab") as log:
        warden = guarded(_command(settings, snapshot, work), project.resolve(), _environment(settings, project), log)
        try:
            while warden.poll() is None:
                if time.monotonic() > give_up_at:
                    raise JobProblem(TIMED_OUT, f"It took longer than {settings.retrain_timeout_s:.0f} s.")
                look(_told(work))
        finally:
            kill_group(warden)
    look(_told(work))
    if warden.returncode != 0:
        lines = _tail(work / LOG).strip().splitlines()
        said = lines[-1][-_DETAIL_MAX_CHARS:] if lines else f"It ended with status {warden.returncode}."
        code = "training_unavailable" if warden.returncode == UNAVAILABLE else "training_failed"
        raise JobProblem(code, said)
    return _result(work / RESULT)


def _command(settings: Settings, snapshot: Path, work: Path) -> list[str]:
    program, *rest = shlex.split(settings.retrain_command)
    command = [sys.executable if program == "python" else program, *rest]
    command += ["--snapshot", str(snapshot), "--work", str(work)]
    if settings.retrain_overlay is not None:
        command += ["--overlay", str(settings.retrain_overlay.resolve())]
    return command


def _environment(settings: Settings, project: Path) -> Mapping[str, str]:
    """Ours, with the project's own modules first, and the registry. A local one keeps its files beside it."""
    environment = dict(os.environ) | {"PYTHONPATH": str(project.resolve()), "PYTHONUNBUFFERED": "1"}
    environment |= {"MLFLOW_TRACKING_URI": settings.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    for secret in ("ALERT_TOKEN", "SERVICE_KEY", "API_KEY"):  # a training needs none of them
        environment.pop(f"CAPSTONE_{secret}", None)
    if settings.mlflow_uri is None:
        settings.mlflow_dir.mkdir(parents=True, exist_ok=True)
        environment["CAPSTONE_MLFLOW_ARTIFACTS"] = (settings.mlflow_dir / "artifacts").as_uri()
    return environment


def _told(work: Path) -> Told:
    """What is there by now; of a line that is being written, nothing yet."""
    steps: dict[str, dict[str, Any]] = {}
    if (work / STEPS).exists():
        for line in (work / STEPS).read_text(errors="replace").splitlines():
            try:
                step = json.loads(line)
                steps[str(step["name"])] = {name: step.get(name) for name in ("name", "began_at", "ended_at")}
            except (ValueError, KeyError, TypeError):
                continue
    return Told(list(steps.values()), _tail(work / LOG))


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4 * LOG_MAX_CHARS))
        text = file.read().decode(errors="replace").replace("\0", "")
    return "".join(one for one in text if one.isprintable() or one == "\n")[-LOG_MAX_CHARS:]


def _result(path: Path) -> Result:
    try:
        body = json.loads(path.read_bytes())
        return Result(str(body["version"]), str(body["release"]), tuple(map(str, body.get("below_bar", ()))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobProblem("training_failed", f"It ended without telling its result ({type(error).__name__}).") from error
