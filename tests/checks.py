"""Named checks of a long proof: each is told when it is made, and counted."""

from __future__ import annotations

from rich.console import Console


class Checks:
    def __init__(self, console: Console) -> None:
        self._console = console
        self.passed = self.failed = 0

    def check(self, name: str, holds: bool, found: object = "") -> None:
        self.passed += holds
        self.failed += not holds
        mark = "[green]passed[/]" if holds else "[red]FAILED[/]"
        self._console.print(f"{mark} {name}" + (f" ({found})" if found != "" else ""), soft_wrap=True)
