"""Finds running headers and footers: rows at the edge of a page that come again on pages near by. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from services.ingest.layout.lines import Line

EDGE = 0.12  # share of the page height, at the top and at the bottom, where running rows are looked for
MAX_ROWS = 3  # at each edge
NEAR_PAGES = 8  # how far off a row must come again: left and right pages and chapters have their own
SAME_HEIGHT_PT = 4.0
POSITION_PAGES = 30  # how far off a known position counts
POSITION_MIN = 3  # pages on which it must have been seen

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)


@dataclass(slots=True)
class _Row:
    lines: list[Line]
    key: str  # the text with numbers masked
    y: float  # of its middle
    blank: float  # points of white to the next row inwards
    running: bool = False


def strip_margins(pages: Sequence[tuple[float, Sequence[Line]]]) -> list[list[Line]]:
    """Lines of each page without running headers and footers; `pages` are heights in points and lines.

    A row is running if its text, numbers masked, stands at the same height on two other pages near by (one, in a
    document of three pages or fewer). So is the outermost row, whatever it says, if it stands where running rows of
    several pages near by stand, set off from the text: the title of a short chapter.
    """
    kept = [list(lines) for _, lines in pages]
    for top in (True, False):
        edges = [_edge_rows(height, lines, top) for height, lines in pages]
        _mark_repeated(edges)
        _mark_by_position(edges)
        for number, rows in enumerate(edges):
            gone: set[int] = set()
            for row in rows:  # from the edge inwards: text between two running rows is not running
                if not row.running:
                    break
                gone.update(id(line) for line in row.lines)
            if gone:
                kept[number] = [line for line in kept[number] if id(line) not in gone]
    return kept


def _edge_rows(height: float, lines: Sequence[Line], top: bool) -> list[_Row]:
    """The outermost rows, from the edge inwards; a row is all lines at one height."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.base, reverse=not top):
        if rows and abs(line.base - rows[-1][0].base) < 0.5 * line.size:
            rows[-1].append(line)
        elif len(rows) > MAX_ROWS:
            break
        else:
            rows.append([line])
    found = []
    for index, row in enumerate(rows[:MAX_ROWS]):
        y = sum((line.top + line.bottom) / 2 for line in row) / len(row)
        if (y if top else height - y) > EDGE * height or any(line.leader for line in row):
            break
        blank = height
        if index + 1 < len(rows):
            inner = rows[index + 1]
            if top:
                blank = min(line.base - line.size for line in inner) - max(line.base for line in row)
            else:
                blank = min(line.base - line.size for line in row) - max(line.base for line in inner)
        text = " ".join(line.text for line in sorted(row, key=lambda line: line.left))
        found.append(_Row(row, _NUMBER.sub("#", text).casefold(), y, blank))
    return found


def _mark_repeated(edges: Sequence[Sequence[_Row]]) -> None:
    needed = 2 if len(edges) > 3 else 1
    seen: dict[str, list[tuple[int, _Row]]] = defaultdict(list)
    for number, rows in enumerate(edges):
        for row in rows:
            seen[row.key].append((number, row))
    for places in seen.values():
        for index, (number, row) in enumerate(places):
            others: set[int] = set()
            for step in (-1, 1):
                at = index + step
                while 0 <= at < len(places) and abs(places[at][0] - number) <= NEAR_PAGES and len(others) < needed:
                    if places[at][0] != number and abs(places[at][1].y - row.y) <= SAME_HEIGHT_PT:
                        others.add(places[at][0])
                    at += step
            row.running = len(others) >= needed


def _mark_by_position(edges: Sequence[Sequence[_Row]]) -> None:
    known = [(number, row) for number, rows in enumerate(edges) for row in rows if row.running]
    numbers = [number for number, _ in known]
    for number, rows in enumerate(edges):
        if not rows or rows[0].running:
            continue
        row = rows[0]
        near = known[bisect_left(numbers, number - POSITION_PAGES) : bisect_left(numbers, number + POSITION_PAGES + 1)]
        size = row.lines[0].size
        alike = {
            other
            for other, seen in near
            if abs(seen.y - row.y) <= SAME_HEIGHT_PT and abs(seen.lines[0].size - size) < 0.5
        }
        row.running = len(alike) >= POSITION_MIN and row.blank > size
