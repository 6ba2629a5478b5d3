"""What is still to be done."""

from __future__ import annotations

import sqlalchemy as sa

from services.core.catalog import Catalog
from services.core.tables import jobs
from services.core.types import JobKind, JobStatus


def open_jobs(catalog: Catalog, kind: JobKind = JobKind.ingest) -> int:
    """How many jobs are queued or running."""
    wanted = sa.select(sa.func.count()).where(
        jobs.c.kind == kind, jobs.c.status.in_([JobStatus.queued, JobStatus.running])
    )
    with catalog.database.read() as connection:
        return int(connection.execute(wanted).scalar_one())
