"""A large library in a child process: importing it must not cost a service its memory, nor waiting for it its time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

DETAIL_MAX_CHARS = 300  # of what callers tell of it


def run_child(
    module: str, folder: Path, environment: Mapping[str, str], *, what: str, within_s: float, wait: Callable[[], None]
) -> str | None:
    """Run `python -m MODULE FOLDER PARENT`; returns None, or why it did not succeed: the last line that it said.

    `wait()` is called again and again meanwhile; what it raises kills the child.
    """
    command = [sys.executable, "-m", module, str(folder), str(os.getpid())]
    give_up_at = time.monotonic() + within_s
    with (folder / "said").open("w+") as said:
        child = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            while child.poll() is None:
                if time.monotonic() > give_up_at:
                    return f"{what} did not answer within {within_s:.0f} s."
                wait()
        finally:
            child.kill()
            child.wait()
        said.seek(0)
        lines = said.read().strip().splitlines()
    if child.returncode == 0:
        return None
    return lines[-1] if lines else f"The child process ended with status {child.returncode}."
