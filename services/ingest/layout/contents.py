"""Tells pages that are nothing but a table of contents or an index. Pure.

Such a page answers no question and, full of the words of all others, is found for every one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from services.ingest.layout.lines import Line

MIN_ENTRIES = 4
MIN_SHARE = 0.6  # of the words on the page that must belong to entries
MIN_UNTITLED = 10  # entries of an index page that says nowhere that it is one
MIN_UNTITLED_ORDERED = 0.9
MIN_ORDERED = 0.75  # of neighbouring entries whose page numbers (contents) or terms (index) do not go back

_TITLE = re.compile(
    r"(table of |short |brief |detailed |list of )?(contents|figures|tables|index|.{0,40} index|index of .{1,40})",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[\W_]+")
_PAGE = re.compile(r"[A-Z]?-?\d{1,4}|[ivxlc]{1,7}")
_PAGE_LIST = re.compile(r".,\s*(?:[A-Z]?-?\d{1,4}(?:[-–]\d{1,4})?(?:,\s*|$))+$")


def is_contents(lines: Sequence[Line], after_contents: bool) -> bool:
    """True if most of the page is entries that end with page numbers, in the order of contents or of an index.

    `after_contents`: the page before was one, so that its last half page needs no title of its own.
    """
    entries = [line for line in lines if _is_entry(line)]
    if len(entries) < (2 if after_contents else MIN_ENTRIES):
        return False
    words = sum(len(line.words) for line in lines)
    covered = sum(len(line.words) for line in _with_continuations(lines))
    if covered < MIN_SHARE * words:
        return False
    titled = any(_TITLE.fullmatch(line.text.strip()) for line in lines[:3])
    led = sum(line.leader for line in entries) * 2 >= len(entries)
    if titled or led or after_contents:
        return _numbers_ascend(entries) >= MIN_ORDERED or _terms_ascend(entries, letters=1) >= MIN_ORDERED
    return len(entries) >= MIN_UNTITLED and _terms_ascend(entries, letters=20) >= MIN_UNTITLED_ORDERED


def _is_entry(line: Line) -> bool:
    """`Title . . . 12`, `term, 4, 17` or `1.2 Title    12`: text and then page numbers."""
    text = line.text
    if line.leader:
        return bool(_PAGE.search(text.rsplit(None, 1)[-1]))
    return bool(_PAGE_LIST.search(text) or (_PAGE.fullmatch(line.words[-1].text) and gap_before_last(line)))


def gap_before_last(line: Line) -> bool:
    """True if white space sets the last word apart, as it does a page number."""
    if len(line.words) < 2:
        return False
    before, last = line.words[-2].box, line.words[-1].box
    return last.left - before.right > line.size


def _with_continuations(lines: Sequence[Line]) -> list[Line]:
    """Entries, the single letters between them, and lines that run on into or out of an entry."""
    found = []
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else None
        runs_on = following is not None and _is_entry(following) and following.left != line.left
        only_pages = all(_PAGE.fullmatch(word.text.strip(",")) for word in line.words)
        if _is_entry(line) or runs_on or only_pages or len(line.text) == 1:
            found.append(line)
    return found


def _numbers_ascend(entries: Sequence[Line]) -> float:
    numbers = [int(last) for line in entries if (last := line.words[-1].text.strip(",")).isdecimal()]
    return _share(a <= b for a, b in pairwise(numbers))


def _terms_ascend(entries: Sequence[Line], *, letters: int) -> float:
    terms = [_MARKS.sub("", line.text).casefold()[:letters] for line in entries]
    return _share(a <= b for a, b in pairwise(terms))


def _share(truths: Iterable[bool]) -> float:
    """Part of the values that are true; 0 if there are none."""
    values = list(truths)
    return sum(values) / len(values) if values else 0.0
