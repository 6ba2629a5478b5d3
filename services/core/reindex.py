"""Documents whose vectors another encoder has made: how many there are, queueing them, putting new vectors in place.

Views pass such documents over, so nothing of them is found. They are embedded anew from their stored chunks: ids, texts
and pages stay as they are, so do the lineage, the quotes and the links of answers. Where chunks begin and end stays as
ingest cut it as well: if the new encoder reads fewer tokens, the end of a long chunk has no share in its vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, bindparam, func, select, update

from services.core import codec
from services.core.catalog import Catalog
from services.core.change_log import hold, last_publish, log_change, next_seq
from services.core.database import Database
from services.core.jobs import Job, JobCancelled
from services.core.tables import chunks, documents, jobs
from services.core.types import JobKind, JobStatus
from services.core.within import ALL, Within, among

UNIT = "chunks"
_OPEN = (JobStatus.queued, JobStatus.running)


def count_of_others(database: Database, encoder_id: str) -> int:
    """Ready documents whose vectors are not of that encoder."""
    with database.read() as connection:
        return connection.execute(select(func.count()).where(_of_others(encoder_id))).scalar_one()


def queue(catalog: Catalog, encoder_id: str, collection: str | None = None, within: Within = ALL) -> list[Job]:
    """Queue a job for each ready document of another encoder that has none yet; returns the new ones, oldest document
    first. `collection`: only those in it."""
    waiting = select(jobs.c.subject_id).where(jobs.c.kind == JobKind.embed, jobs.c.status.in_(_OPEN))
    wanted = _of_others(encoder_id) & among(documents.c.collection, within) & documents.c.id.not_in(waiting)
    if collection is not None:
        wanted &= documents.c.collection == collection
    with catalog.database.write() as connection:
        hold(connection)  # nobody else queues or deletes one of them meanwhile
        rows = connection.execute(select(documents.c.id, documents.c.collection).where(wanted).order_by(documents.c.id))
        queued = [catalog.jobs.enqueue(connection, JobKind.embed, row.id, UNIT, row.collection) for row in rows.all()]
    return [catalog.jobs.get(job_id) for job_id in queued]


def replace_vectors(catalog: Catalog, job: Job, owner: str, vectors: NDArray[np.float32], encoder_id: str) -> None:
    """Put other vectors in the place of those of the job's document, let views know, and end the job as succeeded: all
    of it or nothing.

    `vectors` is float32 of shape (chunks of the document, dim), in their order; ValueError if they are not as many.
    Raises LeaseLost, and JobCancelled, also if the document is gone.
    """
    document_id = job.subject_id
    with catalog.database.write() as connection:
        seq = next_seq(connection)
        catalog.jobs.finish(connection, job.id, owner, JobStatus.succeeded, total=len(vectors))
        change = update(documents).where(documents.c.id == document_id).values(encoder_id=encoder_id)
        document = connection.execute(change.returning(documents.c.id, documents.c.collection)).first()
        before = last_publish(connection, document_id)
        if document is None or before is None:
            raise JobCancelled(job.id)
        if before.chunk_count != len(vectors):
            raise ValueError(f"{len(vectors)} vectors for {before.chunk_count} chunks")
        rows = [
            {"of": chunk_id, "made": codec.pack_vectors(vector)}
            for chunk_id, vector in zip(before.chunk_ids.tolist(), vectors, strict=True)
        ]
        if rows:
            into = update(chunks).where(chunks.c.id == bindparam("of")).values(vector=bindparam("made"))
            connection.execute(into, rows)
        log_change(connection, seq, "publish", document, before.document_seq, before.chunk_count, encoder_id)


def _of_others(encoder_id: str) -> ColumnElement[bool]:
    return documents.c.encoder_id.is_not(None) & (documents.c.encoder_id != encoder_id)
