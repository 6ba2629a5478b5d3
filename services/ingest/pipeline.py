"""One document from file to index: parse, clean, cut, encode, publish. Every step can be resumed or repeated.

Parsed pages and finished batches of vectors are kept as checkpoints, so a restart repeats at most one page or one
batch. Nothing of a document can be seen before `Catalog.publish` commits all of it together with the end of its job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core.catalog import Catalog
from services.core.encoder import Encoder
from services.core.errors import DocumentProblem
from services.core.lease import Lease
from services.core.types import Chunk, Page
from services.ingest.batches import embed
from services.ingest.chunk import chunk_pages
from services.ingest.layout import assemble
from services.ingest.pdf.raw import RawInfo, RawPage, page_from_json, page_to_json
from services.ingest.pdf.sandbox import ParseLimits, open_pdf

PAGE = "page.2"  # kind of checkpoint; pages of an older form are parsed anew


class IngestPipeline:
    """`encoder` is called once, when the first document needs it: an idle worker holds no model."""

    def __init__(self, catalog: Catalog, encoder: Callable[[], Encoder], limits: ParseLimits) -> None:
        self._catalog = catalog
        self._encoder = encoder
        self._limits = limits

    def run(self, lease: Lease, path: Path) -> None:
        """Ingest the file at `path` for the leased job.

        Raises DocumentProblem if it cannot be ingested, and LeaseLost, JobCancelled or WorkerStopping if it should not.
        """
        info, raw_pages = self._parse(lease, path)
        pages = assemble(info, raw_pages)
        if not any(page.text for page in pages):
            raise DocumentProblem(
                "no_text", "No page has text that can be seen. Scanned pages need OCR before they are uploaded."
            )
        encoder = self._encoder()
        chunks = chunk_pages(pages, encoder.token_spans, encoder.max_tokens)
        vectors = self._encode(lease, encoder, pages, chunks)
        lease.check()
        self._catalog.publish(lease.job, lease.owner, info.document, pages, chunks, vectors, encoder.id)

    def _parse(self, lease: Lease, path: Path) -> tuple[RawInfo, list[RawPage]]:
        kept = self._catalog.jobs.checkpoints(lease.job.id, PAGE)
        pages = [page_from_json(payload) for payload in kept.values()]
        with open_pdf(path, self._limits, first_page=len(pages) + 1) as reader:
            total = reader.info.document.page_count
            for page in reader.pages():
                lease.check()
                self._checkpoint(lease, PAGE, page.number, page_to_json(page).encode(), done=0, total=total)
                pages.append(page)
            return reader.info, pages

    def _encode(
        self, lease: Lease, encoder: Encoder, pages: Sequence[Page], chunks: Sequence[Chunk]
    ) -> NDArray[np.float32]:
        def done(embedded: int) -> int:
            return chunks[embedded].page - 1 if embedded < len(chunks) else len(pages)

        texts = [chunk.embedding_text() for chunk in chunks]
        return embed(self._catalog.jobs, lease, encoder, texts, done, total=len(pages))

    def _checkpoint(self, lease: Lease, kind: str, number: int, payload: bytes, *, done: int, total: int) -> None:
        self._catalog.jobs.checkpoint(lease.job.id, lease.owner, kind, number, payload, done=done, total=total)
