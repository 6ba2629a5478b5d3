"""A sentence of a passage -> its citations, one a page: is it really there?

A citation is verified when its quote equals the stored text of the cited page at the cited positions, character by
character. The check reads the page from the catalog: it does not trust the passage the quote was taken from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.core.catalog import Catalog
from services.core.errors import NotFound
from services.core.evidence import Sentence
from services.core.geometry import boxes_for
from services.core.neighbours import Part
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


def citations_of(catalog: Catalog, passages: Sequence[Passage], chosen: Iterable[Sentence]) -> list[Citation]:
    """The citations of the `chosen` sentences of `passages`, each sentence once: one for each page that it stands on.

    A sentence whose document was deleted while the answer was being written is left out, with all its parts.
    """
    found = (_checked(catalog, passages[sentence.passage], sentence) for sentence in dict.fromkeys(chosen))
    return [citation for citations in found for citation in citations]


def _checked(catalog: Catalog, passage: Passage, sentence: Sentence) -> list[Citation]:
    start = passage.char_start
    own = Part(passage.page, start + sentence.start, start + sentence.end, sentence.text)
    try:
        read = [(part, catalog.page(passage.document_id, part.page)) for part in sentence.parts or (own,)]
    except NotFound:
        return []
    return [
        Citation(
            document_id=passage.document_id,
            document_name=passage.document_name,
            page=part.page,
            quote=part.text,
            char_start=part.char_start,
            char_end=part.char_end,
            boxes=boxes_for(page.words, part.char_start, part.char_end),
            verified=page.text[part.char_start : part.char_end] == part.text,
        )
        for part, page in read
    ]
