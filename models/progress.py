"""What a person sees of a long command: a moving bar for each step, or one line a step where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]


class Steps:
    """Times the steps of one command. Bars are drawn on a terminal only; a finished step leaves a line everywhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """Show `label` while the block runs; call the yielded function with the units done since the last call.

        `total` is the number of units; a step of unknown length (None) shows a pulsing bar.
        """
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        started = time.monotonic()
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(label, total=total)
            yield lambda units: progress.advance(task, units)
        self.note(f"  {label}: {time.monotonic() - started:.1f} s")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
