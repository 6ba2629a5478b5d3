"""Text -> the spans of its sentences."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*(?P<gap>\s+)(?=[\"'“‘(\[]?[A-Z0-9])|(?P<lines>\n+)")
_ENDED = re.compile(r"[.!?:][\"'”’)\]]*\s*$")  # a colon too: what it announces is not of its sentence
_QUOTE_MIN_CHARS = 20  # a heading or a list marker says nothing by itself


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """`(start, end)` of each sentence or line of `text`, without the white space around it."""
    spans, start = [], 0
    for match in [*_SENTENCE_END.finditer(text), None]:
        end = match.start(match.lastgroup or 0) if match else len(text)
        piece = text[start:end]
        if piece.strip():
            spans.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
        start = match.end() if match else end
    return spans


def is_ended(text: str) -> bool:
    """Whether `text` ends as a sentence does, whatever comes after it on another page."""
    return _ENDED.search(text) is not None


def quotable_spans(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Sentences long enough to be evidence; all of them if none is. Only those with a character in `[start, end)`."""
    last = len(text) if end is None else end
    spans = [span for span in sentence_spans(text) if span[0] < last and span[1] > start]
    return [span for span in spans if span[1] - span[0] >= _QUOTE_MIN_CHARS] or spans
