"""Small values for tests of the catalog and of what follows it."""

from __future__ import annotations

import hashlib

import numpy as np

from services.core import chunks as stored_chunks
from services.core.catalog import Catalog, Document, new_document_id
from services.core.encoder import Encoder
from services.core.jobs import Job
from services.core.reindex import queue, replace_vectors
from services.core.types import Box, Chunk, DocumentInfo, JobKind, Page, PageKind, Word

DIM = 8
ENCODER = "test-encoder"


def page(number: int, text: str) -> Page:
    words, start = [], 0
    for token in text.split(" "):
        words.append(Word(start, start + len(token), Box(72.0 + start, 100.0, 72.0 + start + len(token), 112.0)))
        start += len(token) + 1
    return Page(number, str(number), 612.0, 792.0, PageKind.body, text, tuple(words), ((0, ("Part", "Section")),))


def chunk(ordinal: int, of: Page) -> Chunk:
    return Chunk(ordinal, of.number, ("Part", "Section"), 0, len(of.text), of.text, (Box(72.0, 100.0, 300.0, 112.0),))


def vector(text: str) -> np.ndarray:
    """A unit vector that only depends on `text`."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    raw = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return raw / np.linalg.norm(raw)


def add(catalog: Catalog, text: str, collection: str = "default") -> tuple[Document, Job, bool]:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return catalog.add_document(new_document_id(), collection, f"{text[:20]}.pdf", sha256, len(text))


def publish(
    catalog: Catalog, text: str, collection: str = "default", owner: str = "worker", encoder: Encoder | None = None
) -> Document:
    """Add and publish a document of one page a line of `text`; the queue must be empty before."""
    document, _, _ = add(catalog, text, collection)
    job = catalog.jobs.claim(owner, lease_s=60)
    assert job is not None and job.subject_id == document.id
    finish(catalog, job, text, owner, encoder)
    return catalog.document(document.id)


def finish(catalog: Catalog, job: Job, text: str, owner: str = "worker", encoder: Encoder | None = None) -> None:
    pages = [page(number, line) for number, line in enumerate(text.splitlines(), 1)]
    chunks = [chunk(ordinal, of) for ordinal, of in enumerate(pages)]
    info = DocumentInfo(len(pages), "A title", None, None)
    if encoder is None:
        vectors = np.array([vector(each.text) for each in chunks], np.float32)
        catalog.publish(job, owner, info, pages, chunks, vectors, ENCODER)
    else:
        vectors = encoder.encode([each.embedding_text() for each in chunks])
        catalog.publish(job, owner, info, pages, chunks, vectors, encoder.id)


def embed_anew(catalog: Catalog, encoder: Encoder, owner: str = "worker") -> list[Document]:
    """Every document of another encoder, embedded by this one as a worker does it; none may be queued before."""
    documents = []
    for job in queue(catalog, encoder.id):
        claimed = catalog.jobs.claim(owner, 60, JobKind.embed)
        assert claimed is not None and claimed.id == job.id
        _, texts = stored_chunks.texts(catalog.database, job.subject_id)
        replace_vectors(catalog, claimed, owner, encoder.encode(texts), encoder.id)
        documents.append(catalog.document(job.subject_id))
    return documents
