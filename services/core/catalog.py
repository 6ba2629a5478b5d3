"""The SQL truth: documents, pages, chunks with their vectors, answers, and (change_log.py) what views follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.core import codec
from services.core.change_log import Change, changes_after, last_publish, log_change, next_seq
from services.core.database import Database
from services.core.errors import NotFound, RestoreUnfinished
from services.core.jobs import Job, JobQueue
from services.core.tables import answers, changes, chunks, counters, documents, jobs, new_id, pages
from services.core.types import Box, Chunk, DocumentInfo, Hit, JobKind, JobStatus, Page, PageKind, Passage
from services.core.within import ALL, Within, among

HISTORY, RESTORING = "history", "restoring"  # rows of `counters`; the second is there while a restore goes on
_SQL_LIST_MAX = 500  # bound parameters of one IN list


@dataclass(frozen=True, slots=True)
class Document:
    """A row of `documents` with the state of its ingest job."""

    id: str
    collection: str
    name: str
    sha256: str
    bytes: int
    job_id: str
    created_at: float
    page_count: int | None
    title: str | None
    author: str | None
    producer: str | None
    encoder_id: str | None
    chunk_count: int | None
    hidden_text_pages: list[int] | None  # with text that cannot be seen, which is kept out
    scanned_pages: list[int] | None  # with text that only a picture shows
    status: str  # queued | running | ready | failed | cancelled


_DOCUMENT_FIELDS = tuple(documents.c[name] for name in Document.__dataclass_fields__ if name != "status")


class Catalog:
    """All reads and writes of documents; what is not `within` is not there for the caller. Methods block: call them
    from a thread, not from the event loop."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.jobs = JobQueue(self.database)

    def migrate(self) -> None:
        """Bring the schema to the newest revision. Raises RestoreUnfinished."""
        self.database.migrate()
        self.require_whole()

    def require_whole(self) -> None:
        """Raises RestoreUnfinished if what a restore was to bring is not all here."""
        if self.counter(RESTORING) is not None:
            raise RestoreUnfinished(
                "A restore into this catalog was begun and has not been finished. Repeat the same `capstone restore`."
            )

    def history(self) -> int:
        """Tells this catalog from others that its sequence numbers could be confused with: each restore makes a new
        one. 0 for a catalog that was never restored."""
        return self.counter(HISTORY) or 0

    def counter(self, name: str) -> int | None:
        with self.database.read() as connection:
            return connection.execute(select(counters.c.value).where(counters.c.name == name)).scalar()

    def close(self) -> None:
        self.database.close()

    # Documents -------------------------------------------------------------------------------------------------

    def add_document(
        self, document_id: str, collection: str, name: str, sha256: str, size_bytes: int
    ) -> tuple[Document, Job, bool]:
        """Register a stored file and queue its ingest, in one transaction.

        Returns the document, its job, and False when the same bytes were in the collection already.
        """
        try:
            with self.database.write() as connection:
                known = self._by_hash(connection, collection, sha256)
                if known is None:
                    job_id = self.jobs.enqueue(connection, JobKind.ingest, document_id, "pages", collection)
                    connection.execute(
                        insert(documents).values(
                            id=document_id,
                            collection=collection,
                            name=name,
                            sha256=sha256,
                            bytes=size_bytes,
                            job_id=job_id,
                            created_at=self.database.now(connection),
                        )
                    )
        except IntegrityError:  # the same bytes arrived at the same moment through another process
            with self.database.read() as connection:
                known = self._by_hash(connection, collection, sha256)
        document = self.document(known or document_id)
        return document, self.jobs.get(document.job_id), known is None

    def document(self, document_id: str, within: Within = ALL) -> Document:
        with self.database.read() as connection:
            row = connection.execute(_documents().where(_seen(document_id, within))).first()
        if row is None:
            raise NotFound(f"There is no document {document_id!r}.")
        return _document_of(row)

    def documents(
        self, collection: str | None, *, after: str | None, limit: int, within: Within = ALL
    ) -> list[Document]:
        """Newest first; `after` is the id of the last document of the page before."""
        seen = among(documents.c.collection, within)
        query = _documents().where(seen).order_by(documents.c.id.desc()).limit(limit)
        if collection is not None:
            query = query.where(documents.c.collection == collection)
        if after is not None:
            query = query.where(documents.c.id < after)
        with self.database.read() as connection:
            return [_document_of(row) for row in connection.execute(query)]

    def delete_document(self, document_id: str, within: Within = ALL) -> None:
        """Remove a document and everything derived from it, and stop its jobs. Raises NotFound."""
        with self.database.write() as connection:
            seq = next_seq(connection)
            row = connection.execute(_documents().where(_seen(document_id, within))).first()
            if row is None:
                raise NotFound(f"There is no document {document_id!r}.")
            self.jobs.stop_all(connection, document_id)
            if (last := last_publish(connection, document_id)) is not None:
                log_change(connection, seq, "delete", row, last.document_seq, last.chunk_count, last.encoder_id)
            connection.execute(delete(documents).where(documents.c.id == document_id))

    def document_count(self) -> int:
        with self.database.read() as connection:
            return connection.execute(select(func.count()).select_from(documents)).scalar_one()

    def known_document_ids(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.execute(select(documents.c.id)).scalars())

    # Ingest ----------------------------------------------------------------------------------------------------

    def publish(
        self,
        job: Job,
        owner: str,
        info: DocumentInfo,
        document_pages: Sequence[Page],
        document_chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
        encoder_id: str,
    ) -> None:
        """Make a parsed document retrievable and end its job as succeeded: all of it or nothing.

        `vectors` is float32 of shape (len(document_chunks), dim). Raises LeaseLost or JobCancelled.
        """
        if len(vectors) != len(document_chunks):
            raise ValueError(f"{len(vectors)} vectors for {len(document_chunks)} chunks")
        with self.database.write() as connection:
            seq = next_seq(connection)
            self.jobs.finish(connection, job.id, owner, JobStatus.succeeded, total=info.page_count)
            connection.execute(
                update(documents)
                .where(documents.c.id == job.subject_id)
                .values(
                    page_count=info.page_count,
                    title=info.title,
                    author=info.author,
                    producer=info.producer,
                    encoder_id=encoder_id,
                    chunk_count=len(document_chunks),
                    hidden_text_pages=[page.number for page in document_pages if page.hidden_chars],
                    scanned_pages=[page.number for page in document_pages if page.scanned],
                )
            )
            connection.execute(insert(pages), [_page_values(job.subject_id, page) for page in document_pages])
            ids = codec.chunk_ids(seq, len(document_chunks)).tolist()
            rows = [
                _chunk_values(job.subject_id, chunk_id, chunk, vector)
                for chunk_id, chunk, vector in zip(ids, document_chunks, vectors, strict=True)
            ]
            if rows:
                connection.execute(insert(chunks), rows)
            row = connection.execute(_documents().where(documents.c.id == job.subject_id)).one()
            log_change(connection, seq, "publish", row, seq, len(rows), encoder_id)

    def page(self, document_id: str, number: int, within: Within = ALL) -> Page:
        """A stored page of a published document. Raises NotFound."""
        wanted = select(pages).where(pages.c.document_id == document_id, pages.c.number == number)
        if within is not None:
            wanted = wanted.join(documents).where(among(documents.c.collection, within))
        with self.database.read() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            raise NotFound(f"There is no page {number} of document {document_id!r}, or it is not indexed yet.")
        return page_of(row)

    # What views read -------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        with self.database.read() as connection:
            return connection.execute(select(func.max(changes.c.seq))).scalar() or 0

    def changes_after(self, seq: int, limit: int) -> list[Change]:
        with self.database.read() as connection:
            return changes_after(connection, seq, limit)

    def vectors(
        self, document_id: str, dim: int, encoder_id: str | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Chunk ids of shape (n,) and vectors of shape (n, dim); n is 0 when the document has been deleted, or its
        vectors are not those of the encoder that is named."""
        query = select(chunks.c.id, chunks.c.vector).where(chunks.c.document_id == document_id)
        if encoder_id is not None:
            query = query.join(documents).where(documents.c.encoder_id == encoder_id)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(chunks.c.ordinal)).all()
        ids = np.array([row.id for row in rows], np.int64)
        return ids, codec.unpack_vectors(b"".join(row.vector for row in rows), dim)

    def passages(self, hits: Sequence[Hit]) -> list[Passage]:
        """The passages behind `hits`, in their order. Chunks that are no longer there are left out."""
        found: dict[int, Any] = {}
        with self.database.read() as connection:
            for start in range(0, len(hits), _SQL_LIST_MAX):
                some = [hit.chunk_id for hit in hits[start : start + _SQL_LIST_MAX]]
                query = select(chunks, documents.c.name).join(documents).where(chunks.c.id.in_(some))
                found |= {row.id: row for row in connection.execute(query)}
        return [_passage_of(found[hit.chunk_id], hit.score) for hit in hits if hit.chunk_id in found]

    def counts(self, within: Within = ALL) -> dict[str, dict[str, int]]:
        """Documents, pages and chunks of each collection that holds a document."""
        query = select(
            documents.c.collection,
            func.count().label("documents"),
            func.coalesce(func.sum(documents.c.page_count), 0).label("pages"),
            func.coalesce(func.sum(documents.c.chunk_count), 0).label("chunks"),
        ).where(among(documents.c.collection, within))
        query = query.group_by(documents.c.collection)
        with self.database.read() as connection:
            return {
                row.collection: {"documents": row.documents, "pages": int(row.pages), "chunks": int(row.chunks)}
                for row in connection.execute(query.order_by(documents.c.collection))
            }

    # Answers ---------------------------------------------------------------------------------------------------

    def save_answer(self, collection: str, body: dict[str, Any]) -> None:
        with self.database.write() as connection:
            now = self.database.now(connection)
            connection.execute(insert(answers).values(id=body["id"], created_at=now, collection=collection, body=body))

    def answer(self, answer_id: str, within: Within = ALL) -> dict[str, Any]:
        mine = (answers.c.id == answer_id) & among(answers.c.collection, within)
        with self.database.read() as connection:
            body = connection.execute(select(answers.c.body).where(mine)).scalar()
        if body is None:
            raise NotFound(f"There is no answer {answer_id!r}.")
        return dict(body)

    # Inside ----------------------------------------------------------------------------------------------------

    def _by_hash(self, connection: Connection, collection: str, sha256: str) -> str | None:
        query = select(documents.c.id).where(documents.c.collection == collection, documents.c.sha256 == sha256)
        return connection.execute(query).scalar()


def new_document_id() -> str:
    return new_id("doc")


def new_answer_id() -> str:
    return new_id("ans")


def page_of(row: Any) -> Page:
    """The page of a row with all columns of `pages`."""
    return Page(
        number=row.number,
        label=row.label,
        width=row.width,
        height=row.height,
        kind=PageKind(row.kind),
        text=row.text,
        words=codec.unpack_words(row.words),
        sections=tuple((start, tuple(path)) for start, path in row.sections),
        hidden_chars=row.hidden_chars,
        scanned=row.scanned,
    )


def _seen(document_id: str, within: Within) -> ColumnElement[bool]:
    return (documents.c.id == document_id) & among(documents.c.collection, within)


def _documents() -> Select[Any]:
    return select(*_DOCUMENT_FIELDS, jobs.c.status.label("job_status")).join(jobs, documents.c.job_id == jobs.c.id)


def _document_of(row: Any) -> Document:
    fields = dict(row._mapping)
    status = fields.pop("job_status")
    return Document(**fields, status="ready" if status == JobStatus.succeeded else status)


def _page_values(document_id: str, page: Page) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "number": page.number,
        "label": page.label,
        "width": page.width,
        "height": page.height,
        "kind": page.kind,
        "text": page.text,
        "words": codec.pack_words(page.words),
        "sections": page.sections,
        "hidden_chars": page.hidden_chars,
        "scanned": page.scanned,
    }


def _chunk_values(document_id: str, chunk_id: int, chunk: Chunk, vector: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "id": chunk_id,
        "document_id": document_id,
        "ordinal": chunk.ordinal,
        "page": chunk.page,
        "section": chunk.section,
        "char_start": chunk.char_start,
        "char_end": chunk.char_end,
        "text": chunk.text,
        "boxes": chunk.boxes,
        "vector": codec.pack_vectors(vector),
    }


def _passage_of(row: Any, score: float) -> Passage:
    return Passage(
        chunk_id=row.id,
        document_id=row.document_id,
        document_name=row.name,
        page=row.page,
        section=tuple(row.section),
        char_start=row.char_start,
        char_end=row.char_end,
        text=row.text,
        boxes=tuple(Box(*box) for box in row.boxes),
        score=score,
    )
