"""Retraining runs in the catalog: opened by an alert, worked on by `retrain_run.py`, ended by the gate or a person."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Select, func, insert, select, update

from services.core.catalog import Catalog
from services.core.errors import NotFound
from services.core.feedback import FeedbackLog
from services.core.jobs import Job
from services.core.lease import Lease
from services.core.tables import changes, jobs, new_id, retraining_runs
from services.core.types import JobKind, JobStatus

UNIT = "steps"
LOG_MAX_CHARS = 4_000
_DAY_S = 24 * 3600.0
Outcome = Literal["refused", "waiting_approval", "promoted"]
STATUSES = ("queued", "running", "failed", "cancelled", "refused", "waiting_approval", "promoted")


class Recent(NamedTuple):
    """`open_id` is a run that has not come to an end; `since_last_s` since the end of the last one."""

    open_id: str | None
    since_last_s: float | None
    today: int  # opened within 24 hours


@dataclass(frozen=True, slots=True)
class Run:
    """`alert` is what opened it: name, labels, starts_at. `snapshot` names what it is trained and judged on, fixed when
    it was opened; `facts` says what that gave. `steps` are objects with name, began_at, ended_at (seconds since the
    epoch). `outcome` is there once the training has been judged."""

    id: str
    alert: dict[str, Any]
    snapshot: dict[str, Any]
    snapshot_sha256: str
    created_at: float
    steps: list[dict[str, Any]]
    log: str
    facts: dict[str, Any] | None
    version: str | None
    release: str | None
    evaluation_id: str | None
    verdict_id: str | None
    outcome: Outcome | None
    detail: str | None
    decided_by: str | None
    ended_at: float | None
    job: Job

    @property
    def status(self) -> str:
        return self.outcome or str(self.job.status)


_OWN = tuple(retraining_runs.c[name] for name in Run.__dataclass_fields__ if name != "job")
_JOB = [jobs.c[name].label(f"job__{name}") for name in Job.__dataclass_fields__]
_OPEN = (JobStatus.queued, JobStatus.running)


class RetrainingStore:
    """Methods block."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._db = catalog.database

    def recent(self, connection: Connection) -> Recent:
        now = self._db.now(connection)
        same = retraining_runs.c.job_id == jobs.c.id
        unfinished = select(retraining_runs.c.id).join(jobs, same).where(jobs.c.status.in_(_OPEN)).limit(1)
        ended = func.max(func.coalesce(retraining_runs.c.ended_at, jobs.c.finished_at, retraining_runs.c.created_at))
        last = connection.execute(select(ended).select_from(retraining_runs).join(jobs, same)).scalar()
        today = select(func.count()).where(retraining_runs.c.created_at > now - _DAY_S)
        return Recent(
            connection.execute(unfinished).scalar(),
            None if last is None else now - last,
            connection.execute(today).scalar_one(),
        )

    def open(self, connection: Connection, alert: dict[str, Any], collection: str) -> str:
        """Fix what it is made from, and queue it, in the caller's transaction; returns its id."""
        run_id = new_id("run")
        snapshot = {
            "collection": collection,
            "index_seq": connection.execute(select(func.max(changes.c.seq))).scalar() or 0,
            "feedback": FeedbackLog(self._db).current(connection, collection),
        }
        connection.execute(
            insert(retraining_runs).values(
                id=run_id,
                job_id=self._catalog.jobs.enqueue(connection, JobKind.retraining, run_id, UNIT),
                alert=alert,
                snapshot=snapshot,
                snapshot_sha256=hashlib.sha256(json.dumps(snapshot, sort_keys=True).encode()).hexdigest(),
                created_at=self._db.now(connection),
                steps=[],
                log="",
            )
        )
        return run_id

    def get(self, run_id: str) -> Run:
        with self._db.read() as connection:
            row = connection.execute(_runs().where(retraining_runs.c.id == run_id)).first()
        if row is None:
            raise NotFound(f"There is no retraining run {run_id!r}.")
        return _run_of(row)

    def newest(self, *, after: str | None, limit: int) -> list[Run]:
        """The newest first; `after` is the id of the last run of the page before."""
        query = _runs().order_by(retraining_runs.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(retraining_runs.c.id < after)
        with self._db.read() as connection:
            return [_run_of(row) for row in connection.execute(query)]

    def ended_ids(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that no job works on any more, or that never were."""
        same = retraining_runs.c.job_id == jobs.c.id
        query = select(retraining_runs.c.id).join(jobs, same).where(jobs.c.status.in_(_OPEN))
        with self._db.read() as connection:
            return set(ids) - set(connection.execute(query).scalars())

    def counts(self) -> dict[str, int]:
        """How many runs there are by status."""
        status = func.coalesce(retraining_runs.c.outcome, jobs.c.status)
        query = select(status.label("status"), func.count().label("runs"))
        query = query.select_from(retraining_runs).join(jobs, retraining_runs.c.job_id == jobs.c.id).group_by(status)
        with self._db.read() as connection:
            found = {row.status: int(row.runs) for row in connection.execute(query)}
        return {name: found.get(name, 0) for name in STATUSES}

    def tell(self, lease: Lease, run_id: str, *, done: int, total: int, **values: Any) -> None:
        """Keep what has been reached, together with the job's progress. Raises LeaseLost."""
        with self._db.write() as connection:
            self.tell_in(connection, lease, run_id, done=done, total=total, **values)

    def tell_in(
        self, connection: Connection, lease: Lease, run_id: str, *, done: int, total: int, **values: Any
    ) -> None:
        """The same in the caller's transaction."""
        self._catalog.jobs.advance(connection, lease.job.id, lease.owner, done=done, total=total)
        connection.execute(update(retraining_runs).where(retraining_runs.c.id == run_id).values(**values))

    def conclude(self, lease: Lease, run_id: str, outcome: Outcome, total: int, **values: Any) -> None:
        """Keep the outcome, and end the job as succeeded: all or nothing. Raises LeaseLost or JobCancelled."""
        with self._db.write() as connection:
            self._catalog.jobs.finish(connection, lease.job.id, lease.owner, JobStatus.succeeded, total=total)
            values |= {"outcome": outcome, "ended_at": self._db.now(connection)}
            connection.execute(update(retraining_runs).where(retraining_runs.c.id == run_id).values(**values))

    def approved(self, run_id: str, by: str, detail: str) -> None:
        """The challenger of a run that waited is live."""
        waiting = (retraining_runs.c.id == run_id) & (retraining_runs.c.outcome == "waiting_approval")
        with self._db.write() as connection:
            values = {"outcome": "promoted", "decided_by": by, "detail": detail, "ended_at": self._db.now(connection)}
            connection.execute(update(retraining_runs).where(waiting).values(**values))


def _runs() -> Select[Any]:
    return select(*_OWN, *_JOB).join(jobs, retraining_runs.c.job_id == jobs.c.id)


def _run_of(row: Any) -> Run:
    fields = dict(row._mapping)
    job = {name: fields.pop(f"job__{name}") for name in Job.__dataclass_fields__}
    return Run(**fields, job=Job(**job | {"kind": JobKind(job["kind"]), "status": JobStatus(job["status"])}))
