"""MLflow in a child process: it is large, and one that does not answer must not hold up anything for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.core.settings import Settings

_DETAIL_MAX_CHARS = 300


def run_child(
    settings: Settings, module: str, folder: Path, *, within_s: float, wait: Callable[[], None]
) -> str | None:
    """Run `python -m MODULE FOLDER PARENT`; returns None, or why it did not succeed: the last line that it said.

    `wait()` is called again and again meanwhile; what it raises kills the child. The address of MLflow, which may hold
    a password, is not in what is returned.
    """
    if settings.mlflow_uri is None:
        settings.mlflow_dir.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ) | {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_REGISTRY_URI": settings.tracking_uri,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", module, str(folder), str(os.getpid())]
    give_up_at = time.monotonic() + within_s
    with (folder / "said").open("w+") as said:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            while child.poll() is None:
                if time.monotonic() > give_up_at:
                    return f"MLflow did not answer within {within_s:.0f} s."
                wait()
        finally:
            child.kill()
            child.wait()
        said.seek(0)
        lines = said.read().strip().splitlines()
    if child.returncode == 0:
        return None
    reason = lines[-1] if lines else f"The child process ended with status {child.returncode}."
    return reason.replace(settings.tracking_uri, "MLflow")[-_DETAIL_MAX_CHARS:]
