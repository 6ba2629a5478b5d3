"""The job queue: leased rows of the catalog. Knows nothing of what a job does.

A worker claims a job for `lease_s` seconds and renews the lease while it works. Every write of a worker is fenced:
it names the owner, and affects nothing once the lease has gone to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from services.core.database import Database
from services.core.errors import Conflict, NotFound
from services.core.tables import checkpoints, jobs, new_id
from services.core.types import JobKind, JobStatus
from services.core.within import ALL, Within, among


class LeaseLost(Exception):
    """Another worker holds the job now, or it has ended. Drop what you are doing; nothing of it may be written."""


class JobCancelled(Exception):
    """Somebody asked for the job to stop."""


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    kind: JobKind
    subject_id: str  # of the document, evaluation or window of captures that it is about
    status: JobStatus
    done: int
    total: int
    unit: str
    error_code: str | None
    error_detail: str | None
    attempts: int
    created_at: float
    started_at: float | None
    finished_at: float | None


_FIELDS = tuple(jobs.c[name] for name in Job.__dataclass_fields__)


def job_of(row: Any) -> Job:
    return Job(**{**row._mapping, "kind": JobKind(row.kind), "status": JobStatus(row.status)})


class JobQueue:
    def __init__(self, database: Database) -> None:
        self._db = database

    def enqueue(
        self, connection: Connection, kind: JobKind, subject_id: str, unit: str, collection: str | None = None
    ) -> str:
        """Add a job in the caller's transaction; returns its id. Without a collection it concerns all of them."""
        job_id = new_id("job")
        connection.execute(
            insert(jobs).values(
                id=job_id,
                kind=kind,
                subject_id=subject_id,
                status=JobStatus.queued,
                done=0,
                total=0,
                unit=unit,
                cancel_requested=False,
                attempts=0,
                created_at=self._db.now(connection),
                collection=collection,
            )
        )
        return job_id

    def get(self, job_id: str, within: Within = ALL) -> Job:
        with self._db.read() as connection:
            row = connection.execute(select(*_FIELDS).where(_seen(job_id, within))).first()
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return job_of(row)

    def claim(self, owner: str, lease_s: float, kind: JobKind = JobKind.ingest) -> Job | None:
        """Lease the oldest job of `kind` that is queued or whose lease ran out; None when there is none."""
        with self._db.write() as connection:
            now = self._db.now(connection)
            free = or_(
                jobs.c.status == JobStatus.queued,
                and_(jobs.c.status == JobStatus.running, jobs.c.lease_until < now),
            )
            oldest = select(jobs.c.id).where(jobs.c.kind == kind, free).order_by(jobs.c.created_at, jobs.c.id).limit(1)
            job_id = connection.execute(oldest.with_for_update(skip_locked=True)).scalar()
            if job_id is None:
                return None
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    status=JobStatus.running,
                    lease_owner=owner,
                    lease_until=now + lease_s,
                    attempts=jobs.c.attempts + 1,
                    started_at=func.coalesce(jobs.c.started_at, now),
                )
            )
            return job_of(connection.execute(select(*_FIELDS).where(jobs.c.id == job_id)).one())

    def heartbeat(self, job_id: str, owner: str, lease_s: float) -> None:
        """Renew the lease. Raises LeaseLost, or JobCancelled when a stop was asked for."""
        with self._db.write() as connection:
            self._fenced(connection, job_id, owner, lease_until=self._db.now(connection) + lease_s)
            if connection.execute(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)).scalar_one():
                raise JobCancelled(job_id)

    def checkpoint(
        self, job_id: str, owner: str, kind: str, number: int, payload: bytes, *, done: int, total: int
    ) -> None:
        """Keep a finished piece of work, in place of an earlier one, and show progress.

        Progress forgives earlier failed starts.
        """
        place = (checkpoints.c.job_id == job_id) & (checkpoints.c.kind == kind) & (checkpoints.c.number == number)
        with self._db.write() as connection:
            self._fenced(connection, job_id, owner, done=done, total=total, attempts=1)
            connection.execute(delete(checkpoints).where(place))
            connection.execute(insert(checkpoints).values(job_id=job_id, kind=kind, number=number, payload=payload))

    def advance(self, connection: Connection, job_id: str, owner: str, *, done: int, total: int) -> None:
        """Show progress in the caller's transaction, together with the work that was done. Raises LeaseLost."""
        self._fenced(connection, job_id, owner, done=done, total=total, attempts=1)

    def checkpoints(self, job_id: str, kind: str) -> dict[int, bytes]:
        """Payloads of the finished pieces by number, ascending."""
        wanted = select(checkpoints.c.number, checkpoints.c.payload).where(
            checkpoints.c.job_id == job_id, checkpoints.c.kind == kind
        )
        with self._db.read() as connection:
            return {row.number: row.payload for row in connection.execute(wanted.order_by(checkpoints.c.number))}

    def finish(
        self,
        connection: Connection,
        job_id: str,
        owner: str,
        status: JobStatus,
        *,
        error: tuple[str, str] | None = None,
        total: int | None = None,
    ) -> None:
        """End the job in the caller's transaction, so that its result and its status appear together.

        Raises LeaseLost, and JobCancelled when a stop was acknowledged before the job could succeed.
        """
        if status == JobStatus.succeeded:
            asked = select(jobs.c.cancel_requested).where(jobs.c.id == job_id).with_for_update()
            if connection.execute(asked).scalar():
                raise JobCancelled(job_id)
        progress = {} if total is None else {"done": total, "total": total}
        code, detail = error or (None, None)
        self._fenced(
            connection,
            job_id,
            owner,
            status=status,
            error_code=code,
            error_detail=detail,
            lease_owner=None,
            lease_until=None,
            finished_at=self._db.now(connection),
            **progress,
        )
        connection.execute(delete(checkpoints).where(checkpoints.c.job_id == job_id))

    def end(self, job_id: str, owner: str, status: JobStatus, *, error: tuple[str, str] | None = None) -> None:
        """`finish` in a transaction of its own, for jobs without a result."""
        with self._db.write() as connection:
            self.finish(connection, job_id, owner, status, error=error)

    def give_back(self, job_id: str, owner: str) -> None:
        """Let the next worker take the job at once; the start that ends here is not held against it."""
        with self._db.write() as connection:
            self._fenced(connection, job_id, owner, lease_until=0.0, attempts=jobs.c.attempts - 1)

    def cancel(self, job_id: str, within: Within = ALL) -> Job:
        """Stop a job: at once while it is queued, at its next heartbeat while it runs. Raises Conflict if ended."""
        with self._db.write() as connection:
            row = connection.execute(select(*_FIELDS).where(_seen(job_id, within)).with_for_update()).first()
            if row is None:
                raise NotFound(f"There is no job {job_id!r}.")
            if JobStatus(row.status).finished:
                raise Conflict(f"The job has already ended as {row.status}.")
            self.stop(connection, job_id, row.status)
        return self.get(job_id)

    def stop(self, connection: Connection, job_id: str, status: str) -> None:
        """Mark an unfinished job, in the caller's transaction, as to be stopped."""
        values: dict[str, Any] = {"cancel_requested": True}
        if status == JobStatus.queued:
            values |= {"status": JobStatus.cancelled, "finished_at": self._db.now(connection)}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))

    def stop_all(self, connection: Connection, subject_id: str) -> None:
        """`stop` every open job about that subject, whatever its kind."""
        open_ones = (jobs.c.subject_id == subject_id) & jobs.c.status.in_((JobStatus.queued, JobStatus.running))
        for row in connection.execute(select(jobs.c.id, jobs.c.status).where(open_ones).with_for_update()).all():
            self.stop(connection, row.id, row.status)

    def release_all(self, kind: JobKind = JobKind.ingest) -> int:
        """Free every lease of this `kind`. Only for a worker that knows it is alone (it holds the kind's lock)."""
        with self._db.write() as connection:
            running = (jobs.c.kind == kind) & (jobs.c.status == JobStatus.running)
            return connection.execute(update(jobs).where(running).values(lease_until=0.0)).rowcount

    def _fenced(self, connection: Connection, job_id: str, owner: str, **values: Any) -> None:
        mine = (jobs.c.id == job_id) & (jobs.c.lease_owner == owner) & (jobs.c.status == JobStatus.running)
        if connection.execute(update(jobs).where(mine).values(values)).rowcount != 1:
            raise LeaseLost(job_id)


def _seen(job_id: str, within: Within) -> ColumnElement[bool]:
    return (jobs.c.id == job_id) & among(jobs.c.collection, within)
