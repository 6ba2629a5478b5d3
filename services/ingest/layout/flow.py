"""Lines of a page -> its text: words joined into paragraphs, with a position for each word. Pure.

Between two lines stands a space where the upper one is full (the next word would not have fitted), a line end where
it is short (lists, code, verses), an empty line between paragraphs and around headings, and nothing where a word was
cut. How full a line is, is judged against the right edge that its column has on this page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.core.types import Word
from services.ingest.layout.contents import gap_before_last
from services.ingest.layout.hyphens import HYPHENS, Vocabulary, is_cut, may_be_cut
from services.ingest.layout.lines import Line
from services.ingest.pdf.protocol import LINE_END_HYPHEN

PARAGRAPH_STEP = 1.15  # line distance, in usual ones, from which on a new paragraph begins
CODE_STEP = 1.8  # the same before code, which belongs to the sentence that announces it
INDENT_EM = 0.6
SPACE_EM = 0.25
MIN_FULL = 0.6  # of the column: a shorter line is never full, however long the next word
HEADING_SIZE = 1.1  # of the size of body text
EDGE_PT = 2.0
MONO_EM = 0.525  # width of a character of most fixed-width fonts
MAX_INDENT_CHARS = 40

_ITEM = re.compile(r"[•◦▪‣∗●○■–—*]$|\(?[0-9]{1,2}[.)]$|\(?[a-zA-Z][.)]$")
_ADDRESS = re.compile(r"\b(?:https?|ftp):\S*$|\bwww\.\S*$")


class Join(StrEnum):
    nothing = ""
    space = " "
    line = "\n"
    paragraph = "\n\n"


@dataclass(frozen=True, slots=True)
class Style:
    """What is usual in the document."""

    pitches: dict[float, float]  # font size -> points from line to line
    body_size: float
    vocabulary: Vocabulary

    def pitch(self, line: Line) -> float:
        return self.pitches.get(line.size, 1.2 * line.size)


@dataclass(slots=True)
class PageText:
    text: str
    words: tuple[Word, ...]
    line_starts: list[int]  # character at which each line begins


def flow(lines: Sequence[Line], style: Style, *, keep_lines: bool = False) -> PageText:
    """Put the lines of one page, in reading order, into one text; `keep_lines` never fills two into one."""
    edges = right_edges(lines)
    parts: list[str] = []
    words: list[Word] = []
    starts: list[int] = []
    length = 0
    paragraph_start = 0
    for index, line in enumerate(lines):
        join, indent = Join.nothing, 0
        if index:
            join = _join(lines, index, edges[index - 1], paragraph_start == index - 1, style)
            if keep_lines and join is Join.space:
                join = Join.line
            if join in (Join.paragraph, Join.line):
                paragraph_start = index
            if line.mono and join in (Join.line, Join.paragraph):
                indent = _code_indent(lines, index)
        if join is Join.nothing and parts and parts[-1][-1] in HYPHENS:
            length -= _undo_hyphen(parts, words, line, style.vocabulary)
        parts.append(join.value + " " * indent)
        length += len(join.value) + indent
        starts.append(length)
        for position, word in enumerate(line.words):
            if position:
                parts.append(" ")
                length += 1
            text = word.text.replace(LINE_END_HYPHEN, "-")
            parts.append(text)
            words.append(Word(length, length + len(text), word.box))
            length += len(text)
    return PageText("".join(parts), tuple(words), starts)


def _undo_hyphen(parts: list[str], words: list[Word], line: Line, vocabulary: Vocabulary) -> int:
    """Drop the hyphen of the last word if it is only one of the line end; returns the characters dropped."""
    left = parts[-1][:-1]
    if not left or vocabulary.keeps_hyphen(left, line.words[0].text):
        return 0
    parts[-1] = left
    words[-1] = words[-1]._replace(end=words[-1].end - 1)
    return 1


def right_edges(lines: Sequence[Line]) -> list[float]:
    """For each line the right edge of its column: the farthest that three lines beside or below it share."""
    counts = Counter(round(line.right / EDGE_PT) for line in lines)
    shared = [
        (key * EDGE_PT, [line for line in lines if abs(line.right - key * EDGE_PT) <= 1.5 * EDGE_PT])
        for key in sorted(counts, reverse=True)
        if counts[key - 1] + counts[key] + counts[key + 1] >= 3
    ]
    edges = []
    for line in lines:
        found = None
        for edge, sharing in shared:
            if edge >= line.right - 2 * EDGE_PT and sum(_overlap(line, other) for other in sharing) >= 3:
                found = edge
                break
        if found is None:
            found = max(other.right for other in lines if _overlap(line, other))
        edges.append(max(found, line.right))
    return edges


def _overlap(one: Line, other: Line) -> bool:
    return one.left < other.right and other.left < one.right


def _join(lines: Sequence[Line], index: int, edge: float, above_begins: bool, style: Style) -> Join:
    """What stands between `lines[index - 1]`, whose column ends at `edge`, and `lines[index]`."""
    above, below = lines[index - 1], lines[index]
    step, pitch = below.base - above.base, style.pitch(above)
    if abs(step) < 0.5 * above.size and below.left >= above.right - 1:
        return Join.space  # one line that the file cuts in two
    if is_cut(above.words[-1].text) and _continues(above, below, step, pitch):
        return Join.nothing
    if above.leader or (above.words[-1].text.isdecimal() and gap_before_last(above)):
        return Join.line if step < 1.5 * pitch else Join.paragraph
    full = _is_full(above, below, edge)
    if step <= 0 or step > 3 * pitch:  # another column, or a picture between
        return Join.space if step <= 0 and full and below.words[0].text[0].islower() else Join.paragraph
    if is_heading(above, style) or is_heading(below, style):
        same = abs(above.size - below.size) < 0.2 and above.bold == below.bold and step < 1.6 * above.size
        if not same or below.words[0].text[0].isdigit():
            return Join.paragraph
        return Join.space if full else Join.line
    if below.mono and not (full and abs(below.left - above.left) < INDENT_EM * above.size):
        return Join.paragraph if step > CODE_STEP * pitch else Join.line
    if above.mono and below.mono:
        return Join.paragraph if step > PARAGRAPH_STEP * pitch else Join.line
    if step > PARAGRAPH_STEP * max(pitch, style.pitch(below)) + 0.3:
        return Join.paragraph
    indent = below.left - above.left
    if indent > INDENT_EM * above.size:
        after = lines[index + 1] if index + 1 < len(lines) else None
        outdented = after is not None and after.left < below.left - INDENT_EM * below.size and after.base > below.base
        if not full or (outdented and not _ITEM.search(above.words[0].text)):
            return Join.paragraph if above.words[-1].text[-1] in ".:!?)" else Join.line
    elif indent < -INDENT_EM * above.size and not (full and above_begins):
        return Join.line if _ITEM.search(below.words[0].text) else Join.paragraph
    if not full:
        return Join.line
    last, first = above.words[-1].text, below.words[0].text
    if (may_be_cut(last) and first[0].islower()) or _address_goes_on(last, first):
        return Join.nothing
    return Join.space


def _address_goes_on(last: str, first: str) -> bool:
    """True if a web address is broken between the two words."""
    found = _ADDRESS.search(last)
    if not found or last[-1] not in ":/.-_?=&#%~":
        return False
    return first.startswith("/") or (first[0] not in "(" and (first[0].islower() or first[0].isdigit() or "/" in first))


def _continues(above: Line, below: Line, step: float, pitch: float) -> bool:
    return abs(above.size - below.size) < 0.15 * above.size and (step <= 0 or step < 2.5 * pitch)


def _is_full(above: Line, below: Line, edge: float) -> bool:
    first = below.words[0].box
    needed = SPACE_EM * above.size + first.right - first.left
    return above.right + needed > edge - 0.5 and above.right - above.left >= MIN_FULL * (edge - above.left)


def is_heading(line: Line, style: Style) -> bool:
    """True if the line is set larger than body text."""
    return line.size > HEADING_SIZE * style.body_size and not line.mono


def _code_indent(lines: Sequence[Line], index: int) -> int:
    """Characters by which a line of code stands in from the leftmost of the lines of code around it."""
    left = lines[index].left
    for step in (-1, 1):
        at = index
        while 0 <= at < len(lines) and lines[at].mono and abs(lines[at].base - lines[index].base) < 600:
            left = min(left, lines[at].left)
            at += step
    return min(MAX_INDENT_CHARS, round((lines[index].left - left) / (MONO_EM * lines[index].size)))
