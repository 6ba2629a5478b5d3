"""What the parser child and its parent agree on. Imported by both, so it imports nothing."""

from __future__ import annotations

from dataclasses import dataclass

LINE_END_HYPHEN = "\u00ad"  # closes a word that the typesetter cut at the end of its line


@dataclass(frozen=True, slots=True)
class Job:
    """The one argument of the child, as a JSON object."""

    mode: str  # "text" or "page"
    parent_pid: int
    cpu_s: int
    memory_mb: int
    max_pages: int
    max_chars: int
    page: int  # 1-based: the first page of "text", the page of "page"
    dpi: int = 0
    max_pixels: int = 0
    highlight: tuple[tuple[float, float, float, float], ...] = ()


class Refused(Exception):
    """The file cannot be parsed: a code of sandbox.py and a number for its sentence."""

    def __init__(self, code: str, value: int | None = None) -> None:
        super().__init__(code)
        self.code, self.value = code, value
