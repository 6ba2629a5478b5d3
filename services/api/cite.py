"""Which sentence of which passage carries a claim, and is it really on that page?

A citation is verified when its quote equals the stored text of the cited page at the cited positions, character by
character. The check reads the page from the catalog: it does not trust the passage the quote was taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.catalog import Catalog
from services.core.encoder import Encoder
from services.core.errors import NotFound
from services.core.evidence import Evidence, Sentence
from services.core.geometry import boxes_for
from services.core.sentences import sentence_spans
from services.core.types import Box, Passage


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

    def cite(self, question: str, answer: str, passages: Sequence[Passage], evidence: Evidence) -> list[Citation]:
        """For each sentence of `answer` the sentence of the passages nearest to it, each at most once.

        `evidence` is that of the passages' texts. Nearness is the cosine of encoder vectors, of the question joined
        with the claim against the sentence.
        """
        claims = [answer[start:end] for start, end in sentence_spans(answer)]
        if not evidence.sentences or not claims:
            return []
        vectors = self._encoder.encode([f"{question} {claim}" for claim in claims])
        chosen = dict.fromkeys(evidence.nearest(vector, 1)[0] for vector in vectors)
        citations = (self._checked(passages[sentence.passage], sentence) for sentence in chosen)
        return [citation for citation in citations if citation is not None]

    def _checked(self, passage: Passage, sentence: Sentence) -> Citation | None:
        """None when the document was deleted while the answer was being written."""
        quote = sentence.text
        char_start, char_end = passage.char_start + sentence.start, passage.char_start + sentence.end
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
