"""Cuts pages into chunks for retrieval. Pure.

Objective: choose the cuts of each stretch of text so that the sum of

    cut cost        SECTION < PARAGRAPH < LINE < SENTENCE < WORD < CHARACTER, by what stands at the cut
  + crossing cost   for each section that begins inside a chunk, which then carries the path of the first only
  + size cost       ((tokens - TARGET_TOKENS) / TARGET_TOKENS) ** 2 for each chunk, doubled for those above the target

is smallest, under the hard limit that what the encoder reads of a chunk (section path and text) has at most
`max_tokens` tokens. Sizes are tokens of the encoder, costs have no unit. Solved exactly, by dynamic programming over
the places where a cut is allowed. Squares make pieces even: three of 150 tokens cost less than 200, 200 and 50.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from services.core.geometry import boxes_for
from services.core.types import Chunk, Page, PageKind

TokenSpans = Callable[[str], list[tuple[int, int]]]

TARGET_TOKENS = 180
CROSSING = 0.3
PATH_SHARE = 0.25  # of the limit, at most, goes to the section path
SECTION, PARAGRAPH, LINE, SENTENCE, WORD, CHARACTER = 0.0, 0.15, 0.4, 0.6, 3.0, 30.0
LONG_TOKEN_CHARS = 32  # a token longer than this counts once for each so many: an unreadable run is split too

_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+(?=[^\sa-z])")


@dataclass(frozen=True, slots=True)
class _Cut:
    at: int  # character position of what begins here
    cost: float


def chunk_pages(pages: Sequence[Page], token_spans: TokenSpans, max_tokens: int) -> list[Chunk]:
    """Cut the body pages of one document, in order, into chunks of at most `max_tokens` tokens each.

    Every character of a body page that is not white space lies in exactly one chunk; pages of other kinds give none.
    `token_spans` is `Encoder.token_spans`. Raises ValueError if `max_tokens` is below 16.
    """
    if max_tokens < 16:
        raise ValueError("max_tokens must be at least 16")
    chunks: list[Chunk] = []
    for page in pages:
        if page.kind is PageKind.body:
            for start, end, section in _cut_page(page, token_spans, max_tokens):
                boxes = boxes_for(page.words, start, end)
                chunks.append(Chunk(len(chunks), page.number, section, start, end, page.text[start:end], boxes))
    return chunks


def _cut_page(page: Page, token_spans: TokenSpans, max_tokens: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    counter = _TokenCounter(page.text, token_spans)
    paths = {path: _shorten(path, token_spans, max_tokens) for _, path in page.sections}
    starts = [start for start, _ in page.sections]

    def section_at(position: int) -> tuple[str, ...]:
        index = bisect_right(starts, position) - 1
        return page.sections[index][1] if index >= 0 else ()

    def path_tokens(position: int) -> int:
        return paths.get(section_at(position), ((), 0))[1]

    for start, end in _best_spans(page, counter, path_tokens, max_tokens):
        section = paths.get(section_at(start), ((), 0))[0]
        yield from _verified(page, start, end, section, token_spans, max_tokens)


def _verified(
    page: Page, start: int, end: int, section: tuple[str, ...], token_spans: TokenSpans, max_tokens: int
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """The span, or halves of it for an encoder whose tokens of a part are not those of the whole."""
    text = Chunk(0, page.number, section, start, end, page.text[start:end], ()).embedding_text()
    if len(token_spans(text)) <= max_tokens or end - start < 2:
        yield start, end, section
        return
    middle = (start + end) // 2
    space = page.text.rfind(" ", start + 1, middle)
    cut = space + 1 if space > 0 else middle
    yield from _verified(page, *_trim(page.text, start, cut), section, token_spans, max_tokens)
    yield from _verified(page, *_trim(page.text, cut, end), section, token_spans, max_tokens)


class _TokenCounter:
    """Counts the tokens that begin in a span of characters, from one tokenisation of the page."""

    def __init__(self, text: str, token_spans: TokenSpans) -> None:
        spans = token_spans(text)
        self.starts = [start for start, _ in spans]
        self._total = list(accumulate((1 + (end - start) // LONG_TOKEN_CHARS for start, end in spans), initial=0))
        self._spans = spans

    def count(self, start: int, end: int) -> int:
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        total = self._total[last] - self._total[first]
        if first > 0 and self._spans[first - 1][1] > start:  # the cut goes through a long token
            total += 1 + (min(end, self._spans[first - 1][1]) - start) // LONG_TOKEN_CHARS
        return total


def _best_spans(
    page: Page, counter: _TokenCounter, path_tokens: Callable[[int], int], limit: int
) -> list[tuple[int, int]]:
    """Spans of the page, trimmed of white space, whose cuts and sizes cost least."""
    cuts = _allowed_cuts(page, counter, limit - max((path_tokens(start) for start, _ in page.sections), default=0))
    best = [0.0] + [float("inf")] * (len(cuts) - 1)
    came_from = [0] * len(cuts)
    starts = [start for start, _ in page.sections]
    for right in range(1, len(cuts)):
        for left in range(right - 1, -1, -1):
            tokens = counter.count(cuts[left].at, cuts[right].at)
            if tokens + path_tokens(cuts[left].at) > limit and left < right - 1:
                break
            crossed = bisect_left(starts, cuts[right].at) - bisect_right(starts, cuts[left].at)
            cost = best[left] + _size_cost(tokens) + cuts[right].cost + CROSSING * crossed
            if cost < best[right]:
                best[right], came_from[right] = cost, left
    spans = []
    right = len(cuts) - 1
    while right > 0:
        left = came_from[right]
        start, end = _trim(page.text, cuts[left].at, cuts[right].at)
        if start < end:
            spans.append((start, end))
        right = left
    return spans[::-1]


def _size_cost(tokens: int) -> float:
    off = (tokens - TARGET_TOKENS) / TARGET_TOKENS
    return off * off * (2 if off > 0 else 1)


def _allowed_cuts(page: Page, counter: _TokenCounter, room: int) -> list[_Cut]:
    """Where the page may be cut, with costs, from its start to its end; neighbours are at most `room` tokens apart."""
    text = page.text
    costs: dict[int, float] = {}
    for match in _SENTENCE_END.finditer(text):
        costs[match.end()] = SENTENCE
    for match in re.finditer(r"\n+", text):
        costs[match.end()] = PARAGRAPH if len(match.group()) > 1 else LINE
    for start, _ in page.sections:
        costs[start] = SECTION
    costs[0] = costs[len(text)] = 0.0
    places = sorted(costs)
    cuts = [_Cut(0, 0.0)]
    for place in places[1:]:
        if counter.count(cuts[-1].at, place) > room:
            cuts.extend(_word_cuts(text, cuts[-1].at, place, counter, room))
        cuts.append(_Cut(place, costs[place]))
    return cuts


def _word_cuts(text: str, start: int, end: int, counter: _TokenCounter, room: int) -> Iterator[_Cut]:
    """Cuts inside a stretch without a better place: before each word, and inside words that are too long alone."""
    at = start
    for match in re.finditer(r"\S+\s*", text[start:end]):
        word_start, word_end = start + match.start(), start + match.end()
        if word_start > at:
            yield _Cut(word_start, WORD)
            at = word_start
        while counter.count(at, word_end) > room:
            at = _fitting_end(at, word_end, counter, room)
            yield _Cut(at, CHARACTER)


def _fitting_end(start: int, end: int, counter: _TokenCounter, room: int) -> int:
    """The farthest position with at most `room` tokens after `start`, at least one character on."""
    low, high = start + 1, end
    while low < high:
        middle = (low + high + 1) // 2
        if counter.count(start, middle) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _shorten(path: tuple[str, ...], token_spans: TokenSpans, max_tokens: int) -> tuple[tuple[str, ...], int]:
    """The innermost titles that fit into their share, and the tokens they take."""
    room = int(PATH_SHARE * max_tokens)
    for first in range(len(path)):
        tokens = len(token_spans(" > ".join(path[first:])))
        if tokens <= room:
            return path[first:], tokens
    return (), 0


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
