"""Waiting for something that another thread or process does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def until(condition: Callable[[], bool], within_s: float = 120) -> None:
    """Raises AssertionError if that does not come about in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def pause(pid: int) -> None:
    """Stop a process, as one that hangs; returns when none of its threads runs any more, which the signal does not."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(_state(thread) == "T" for thread in Path(f"/proc/{pid}/task").iterdir()), within_s=30)


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(") ")[2][0]
