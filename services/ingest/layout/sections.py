"""Outline entries -> which section each character of a page belongs to. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from services.ingest.layout.flow import PageText, Style, is_heading
from services.ingest.layout.lines import Line
from services.ingest.pdf.raw import OutlineEntry

Path = tuple[str, ...]
Sections = tuple[tuple[int, Path], ...]

TITLE_LINES = 3  # a title may run over so many lines
MAX_TITLE_WORDS = 16
MAX_HEADING_LEVELS = 4
MAX_HEADING_SHARE = 0.25  # of all lines
ABOVE_PT = 4.0  # a destination stands a little above its heading, or on it
_NUMBER = re.compile(
    r"^(?:(?:chapter|appendix|part|section)\s+)?(?:[0-9ivxlc]+|[a-z])(?:\.[0-9]+)*[.:]?\s+", re.IGNORECASE
)


class SectionMap:
    """Hands out the sections of page after page; pages must come in order."""

    def __init__(self, outline: Sequence[OutlineEntry]) -> None:
        self._by_page: dict[int, list[OutlineEntry]] = defaultdict(list)
        for entry in outline:
            self._by_page[entry.page].append(entry)
        self._path: list[tuple[int, str]] = []  # level and title, outermost first

    def of_page(self, number: int, lines: Sequence[Line], page_text: PageText) -> Sections:
        """Sections of the page, from the one that runs on from the page before."""
        found: list[tuple[int, Path]] = []
        if self._path:
            found.append((0, self._titles()))
        at = 0
        for entry in self._by_page.get(number, ()):
            at = max(at, _line_of(entry, lines, at))
            start = page_text.line_starts[at] if at < len(lines) else len(page_text.text)
            while self._path and self._path[-1][0] >= entry.level:
                self._path.pop()
            self._path.append((entry.level, entry.title))
            if found and found[-1][0] == start:
                found.pop()
            found.append((start, self._titles()))
        return tuple(found)

    def _titles(self) -> Path:
        return tuple(title for _, title in self._path)


def outline_from_headings(pages: Sequence[tuple[int, Sequence[Line]]], style: Style) -> tuple[OutlineEntry, ...]:
    """An outline for a file that brings none: its lines in large type, the largest outermost; pages by number.

    Empty if large type is too common to mean headings, as on slides.
    """
    found: list[tuple[int, Line]] = []
    for number, lines in pages:
        found.extend((number, line) for line in lines if is_heading(line, style) and _is_title(line))
    if not found or len(found) > MAX_HEADING_SHARE * sum(len(lines) for _, lines in pages):
        return ()
    sizes = sorted({round(line.size) for _, line in found}, reverse=True)[:MAX_HEADING_LEVELS]
    entries: list[OutlineEntry] = []
    above: tuple[int, Line] | None = None
    for number, line in found:
        if round(line.size) not in sizes:
            continue
        runs_on = above is not None and above[0] == number and _runs_on(above[1], line)
        if runs_on and not line.text[0].isdigit():
            entries[-1] = entries[-1]._replace(title=f"{entries[-1].title} {line.text}")
        else:
            entries.append(OutlineEntry(sizes.index(round(line.size)), line.text, number, line.top))
        above = (number, line)
    return tuple(entries)


def _is_title(line: Line) -> bool:
    return sum(char.isalpha() for char in line.text) > 2 and len(line.words) <= MAX_TITLE_WORDS


def _runs_on(above: Line, below: Line) -> bool:
    return abs(above.size - below.size) < 0.2 and 0 < below.base - above.base < 1.6 * above.size


def _line_of(entry: OutlineEntry, lines: Sequence[Line], first: int) -> int:
    """Index of the line at which the section begins: the one with its title nearest to its height, or by height."""
    title = _plain(entry.title)
    best, best_distance = None, float("inf")
    for index in range(first, len(lines)):
        if not _begins_title(lines, index, title):
            continue
        distance = abs(lines[index].top - (entry.top or 0.0))
        if distance < best_distance:
            best, best_distance = index, distance
    if best is not None:
        return best
    if entry.top is None:
        return first
    for index in range(first, len(lines)):
        if lines[index].base > entry.top + ABOVE_PT:
            return index
    return len(lines)


def _begins_title(lines: Sequence[Line], index: int, title: str) -> bool:
    text = ""
    for line in lines[index : index + TITLE_LINES]:
        text = f"{text} {line.text}".strip()
        if _plain(text) == title:
            return bool(title)
        if len(text) > 2 * len(title) + 40:
            return False
    return False


def _plain(text: str) -> str:
    """Letters and digits only, without the number of the section."""
    return re.sub(r"[\W_]+", "", _NUMBER.sub("", text)).casefold()
