"""The `capstone` command, as somebody at a terminal runs it."""

from __future__ import annotations

import os
import subprocess

from tests.server import CAPSTONE

Done = subprocess.CompletedProcess[str]


def capstone(*words: object, url: str = "") -> Done:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CAPSTONE_")}
    env |= {"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"} | ({"CAPSTONE_URL": url} if url else {})
    done = subprocess.run(
        [CAPSTONE, *map(str, words)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done
