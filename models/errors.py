"""What goes wrong with the inputs of the offline path and is worth a sentence instead of a traceback."""

from __future__ import annotations

from pathlib import Path

from services.core.errors import CapstoneError


class BadInput(CapstoneError):
    """A file cannot be used: missing, malformed, of the wrong hash, or unfit for what it is asked to do.

    `row` is the number of the line, from 1, where that makes sense. The text names file, row and remedy.
    """

    status, code, title = 422, "bad_input", "A file of the offline path cannot be used"

    def __init__(self, file: Path | str, problem: str, *, remedy: str, row: int | None = None) -> None:
        where = f"{file}, row {row}" if row is not None else str(file)
        super().__init__(f"{where}: {problem.rstrip('.')}. {remedy}")
        self.file = Path(file)
        self.problem = problem
        self.row = row
        self.remedy = remedy
