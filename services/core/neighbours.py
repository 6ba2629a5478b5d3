"""A passage with what stands beside it in its document: a sentence that a border cuts in two is read whole. Pure.

Inside a page its text tells where sentences end. Between two pages nothing tells it, and not every last line without a
full stop goes on: many are code, an item of a list or a heading (`runs_on`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from services.core.geometry import merge_lines
from services.core.sentences import is_ended, quotable_spans
from services.core.types import Page

JOINED_MAX_CHARS = 2_000  # what is longer is a table or a listing, and is read as the passages cut it
MIN_FULL = 0.6  # of the column: a shorter line is never full
SPACE_EM = 0.25
EDGE_PT = 0.5
_HYPHENS = "-\u2010\u2011"


@dataclass(frozen=True, slots=True)
class Placed:
    """A chunk on its page: its text is `page.text[char_start:char_end]`."""

    document_id: str
    page: Page
    char_start: int
    char_end: int


class Part(NamedTuple):
    """A stretch of a page: `page.text[char_start:char_end] == text`."""

    page: int
    char_start: int
    char_end: int
    text: str


class Joined(NamedTuple):
    """A sentence of a passage: `passage.text[start:end]` is what the passage has of it, `text` is all of it.

    `parts` are its stretches in reading order, one a page; empty if the passage has it whole.
    """

    start: int
    end: int
    text: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """`text[start:end]` is the passage's own. `runs` are the parts it is made of, each with its place in `text`."""

    document_id: str
    text: str
    start: int
    end: int
    runs: tuple[tuple[int, Part], ...]

    def sentences(self) -> Iterator[Joined]:
        """Those of the passage that are long enough to be evidence, in their order."""
        for start, end in quotable_spans(self.text, self.start, self.end):
            own_start, own_end = max(start, self.start), min(end, self.end)
            if end - start > JOINED_MAX_CHARS:
                start, end = own_start, own_end
            parts = () if (start, end) == (own_start, own_end) else tuple(self._parts(start, end))
            yield Joined(own_start - self.start, own_end - self.start, self.text[start:end], parts)

    def _parts(self, start: int, end: int) -> Iterator[Part]:
        for at, run in self.runs:
            first, last = max(start - at, 0), min(end - at, len(run.text))
            if first < last:
                yield Part(run.page, run.char_start + first, run.char_start + last, run.text[first:last])


def window_of(before: Placed | None, own: Placed, after: Placed | None) -> Window:
    """The window of `own`, with the chunks before and after it, if these are of its document and read on from each
    other: on one page, or on two of which the first runs on."""
    chunks = [own]
    if before is not None and _reads_on(before, own):
        chunks.insert(0, before)
    if after is not None and _reads_on(own, after):
        chunks.append(after)
    text, start = "", 0
    runs: list[tuple[int, Part]] = []
    for chunk in chunks:
        page = chunk.page
        if runs and runs[-1][1].page == page.number:  # the page's own text, so that no overlap is said twice
            at, run = runs.pop()
            first, last = run.char_start, max(run.char_end, chunk.char_end)
            text = text[:at]
        else:
            text += _between(text, page.text[chunk.char_start :])
            at, first, last = len(text), chunk.char_start, chunk.char_end
        if chunk is own:
            start = at + own.char_start - first
        runs.append((at, Part(page.number, first, last, page.text[first:last])))
        text += page.text[first:last]
    return Window(own.document_id, text, start, start + own.char_end - own.char_start, tuple(runs))


def runs_on(left: Page, right: Page) -> bool:
    """Whether the last sentence of the page `left` goes on at the top of `right`.

    It does if `right` is the next page, no sentence ends and no section begins between them, and the last line of
    `left` is full: the first word of `right` would not have fitted. Layout joins the lines of a page by the same rule.
    """
    if right.number != left.number + 1 or not left.words or not right.words or is_ended(left.text):
        return False
    return _last_path(left) == _first_path(right) and _is_full(left, right)


def _reads_on(left: Placed, right: Placed) -> bool:
    if left.document_id != right.document_id:
        return False
    return left.page.number == right.page.number or runs_on(left.page, right.page)


def _is_full(left: Page, right: Page) -> bool:
    lines = merge_lines(word.box for word in left.words)
    last, word = lines[-1], right.words[0].box
    edge = max(line.right for line in lines if line.left < last.right and last.left < line.right)
    needed = SPACE_EM * (last.bottom - last.top) + word.right - word.left
    return last.right + needed > edge - EDGE_PT and last.right - last.left >= MIN_FULL * (edge - last.left)


def _last_path(page: Page) -> tuple[str, ...]:
    return page.sections[-1][1] if page.sections else ()


def _first_path(page: Page) -> tuple[str, ...]:
    return page.sections[0][1] if page.sections and page.sections[0][0] == 0 else ()


def _between(left: str, right: str) -> str:
    """What joins two pages: nothing inside a word that was cut, else a space."""
    cut = left[-1:] in _HYPHENS and left[-2:-1].isalpha() and right[:1].islower()
    return "" if cut or not left else " "
