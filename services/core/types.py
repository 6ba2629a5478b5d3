"""The nouns of the platform, as immutable values. No behaviour beyond what their fields imply.

Geometry is in PDF points (1/72 inch) with the origin at the top left corner of the page as it is displayed,
after rotation and crop. Character positions index the stored text of one page (`Page.text`), end exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float


class Word(NamedTuple):
    """`page.text[start:end]` is the word as a reader sees it; `box` surrounds its glyphs."""

    start: int
    end: int
    box: Box


class PageKind(StrEnum):
    body = "body"
    contents = "contents"  # only a table of contents or an index: kept, not retrieved
    blank = "blank"
    no_text_layer = "no_text_layer"  # something is drawn, but no text can be read from it


@dataclass(frozen=True, slots=True)
class Page:
    """One page as it is stored: cleaned text in reading order.

    `sections` maps positions to the outline: each `(start, path)` says that from character `start` on the text
    belongs to the section with that path, outermost title first. Sorted by `start`.

    What a reader cannot see is not in the text: `hidden_chars` counts it. Where a picture shows what the text says,
    as on a `scanned` page, it can be seen. Both are None for pages that were stored before anybody looked.
    """

    number: int  # 1-based position in the file
    label: str  # the number printed on the page, as the PDF declares it
    width: float
    height: float
    kind: PageKind
    text: str
    words: tuple[Word, ...]
    sections: tuple[tuple[int, tuple[str, ...]], ...] = ()
    hidden_chars: int | None = None
    scanned: bool | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous span of one page: `text == page.text[char_start:char_end]`, never across pages or documents."""

    ordinal: int  # position in the document, from 0
    page: int
    section: tuple[str, ...]
    char_start: int
    char_end: int
    text: str
    boxes: tuple[Box, ...]  # one a line, in reading order

    def embedding_text(self) -> str:
        return embedding_text(self.section, self.text)


def embedding_text(section: Sequence[str], text: str) -> str:
    """What is searched of a chunk, by meaning and by words: the section path, then the text."""
    return " > ".join(section) + "\n" + text if section else text


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What the file says of itself."""

    page_count: int
    title: str | None
    author: str | None
    producer: str | None


class JobKind(StrEnum):
    ingest = "ingest"
    embed = "embed"  # the stored chunks of a document, by another encoder than before
    evaluation = "evaluation"
    drift = "drift"
    retraining = "retraining"


class JobStatus(StrEnum):
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def finished(self) -> bool:
        return self in (JobStatus.succeeded, JobStatus.failed, JobStatus.cancelled)


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of an index. `score` is larger for better rows: a cosine in [-1, 1], or BM25, which is not negative."""

    chunk_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk, as the catalog holds it at the time of the question; `score` is its cosine to the question."""

    chunk_id: int
    document_id: str
    document_name: str
    page: int
    section: tuple[str, ...]
    char_start: int
    char_end: int
    text: str
    boxes: tuple[Box, ...]
    score: float


@dataclass(frozen=True, slots=True)
class PassageFilter:
    """What a passage must be of to be found; an empty member asks for nothing. Pages are 1-based, both ends included.

    `documents` are ids of documents. `sections` are titles: one of them must be in the passage's section path.
    """

    documents: tuple[str, ...] = ()
    first_page: int | None = None
    last_page: int | None = None
    sections: tuple[str, ...] = ()
