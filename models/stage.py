"""How a command of the offline path ends: silently, or with a sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console

from services.core.errors import CapstoneError

FAILED = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def exit_code(work: Callable[[], None]) -> int:
    """Do `work`; returns 0, or prints an expected failure as a sentence on standard error and returns its code.

    Expected are CapstoneError (BadInput and ModelProblem among them), OSError and Ctrl-C. Anything else is a mistake
    of the program and keeps its traceback.
    """
    try:
        work()
    except (CapstoneError, OSError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def run_stage(main: Callable[[], None]) -> None:
    """`exit_code` for the last line of a stage's module: leaves the process if `main` failed, else returns."""
    if code := exit_code(main):
        sys.exit(code)
