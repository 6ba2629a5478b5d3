"""Which source is running."""

from __future__ import annotations

import functools
import os
import subprocess
from importlib import metadata
from pathlib import Path


def version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("capstone")
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def git_commit() -> str:
    """The commit of the running source: `CAPSTONE_GIT_COMMIT` (set in images), else git's HEAD, else `unknown`.

    Asked once a process: what runs stays what was loaded, wherever the checkout goes.
    """
    if given := os.environ.get("CAPSTONE_GIT_COMMIT"):
        return given
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
