"""Which sentence of which passage carries a claim, and is it really on that page?

A citation is verified when its quote equals the stored text of the cited page at the cited positions, character by
character. The check reads the page from the catalog: it does not trust the passage the quote was taken from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.catalog import Catalog
from services.core.encoder import Encoder
from services.core.errors import NotFound
from services.core.geometry import boxes_for
from services.core.types import Box, Passage

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*(?P<gap>\s+)(?=[\"'“‘(\[]?[A-Z0-9])|(?P<lines>\n+)")
_QUOTE_MIN_CHARS = 20  # a heading or a list marker says nothing by itself


@dataclass(frozen=True, slots=True)
class Citation:
    document_id: str
    document_name: str
    page: int
    quote: str
    char_start: int
    char_end: int
    boxes: tuple[Box, ...]
    verified: bool


class Citer:
    def __init__(self, catalog: Catalog, encoder: Encoder) -> None:
        self._catalog = catalog
        self._encoder = encoder

    def cite(self, question: str, answer: str, passages: Sequence[Passage]) -> list[Citation]:
        """For each sentence of `answer` the sentence of the passages nearest to it, each at most once.

        Nearness is the cosine of encoder vectors, of the question joined with the claim against the sentence.
        """
        candidates = [(passage, start, end) for passage in passages for start, end in quotable_spans(passage.text)]
        claims = [answer[start:end] for start, end in sentence_spans(answer)]
        if not candidates or not claims:
            return []
        vectors = self._encoder.encode(
            [f"{question} {claim}" for claim in claims] + [p.text[start:end] for p, start, end in candidates]
        )
        similarity = vectors[: len(claims)] @ vectors[len(claims) :].T
        chosen = dict.fromkeys(int(row.argmax()) for row in similarity)
        citations = (self._checked(*candidates[index]) for index in chosen)
        return [citation for citation in citations if citation is not None]

    def _checked(self, passage: Passage, start: int, end: int) -> Citation | None:
        """None when the document was deleted while the answer was being written."""
        quote = passage.text[start:end]
        char_start, char_end = passage.char_start + start, passage.char_start + end
        try:
            page = self._catalog.page(passage.document_id, passage.page)
        except NotFound:
            return None
        return Citation(
            document_id=passage.document_id,
            document_name=passage.document_name,
            page=passage.page,
            quote=quote,
            char_start=char_start,
            char_end=char_end,
            boxes=boxes_for(page.words, char_start, char_end),
            verified=page.text[char_start:char_end] == quote,
        )


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


def quotable_spans(text: str) -> list[tuple[int, int]]:
    """Sentences long enough to be evidence; all of them if none is."""
    spans = sentence_spans(text)
    return [span for span in spans if span[1] - span[0] >= _QUOTE_MIN_CHARS] or spans
