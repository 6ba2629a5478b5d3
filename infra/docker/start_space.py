"""Starts the demo of a Hugging Face Space in its container: `python start_space.py`. Standard library only.

Whoever has no key may ask (CAPSTONE_ANONYMOUS_SCOPE=read), and nothing else. What ingests the example needs a key: the
Space's secret CAPSTONE_API_KEY, with which its owner can upload too, else a random one that nobody is told.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import MutableMapping
from pathlib import Path

FOLDER = Path("/tmp/secrets")  # noqa: S108 - the container's own, with one user
COMMAND = [sys.executable, "-m", "services.cli", "up", "--example"]


def keep_key(environment: MutableMapping[str, str], folder: Path) -> None:
    """Put the key into files that only this user can open, and out of the environment."""
    key = environment.pop("CAPSTONE_API_KEY", "") or secrets.token_urlsafe(32)
    folder.mkdir(mode=0o700, exist_ok=True)
    hashed = hashlib.sha256(key.encode()).hexdigest()
    for name, value in (("capstone_api_key", key), ("capstone_admin_key_sha256", hashed)):
        (folder / name).unlink(missing_ok=True)  # of the start before, in the same container
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
            file.write(value)
    environment["CAPSTONE_SECRETS_DIR"] = str(folder)


if __name__ == "__main__":
    keep_key(os.environ, FOLDER)
    os.execv(COMMAND[0], COMMAND)  # noqa: S606 - no shell wanted
