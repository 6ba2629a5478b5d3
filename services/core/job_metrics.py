"""How the jobs of one kind are doing, from the catalog: the workers are processes without a port of their own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import ColumnElement, Connection, func, select

from services.core.database import Database
from services.core.tables import jobs
from services.core.types import JobKind, JobStatus

_OPEN = (JobStatus.queued, JobStatus.running)
_ENDED = tuple(status for status in JobStatus if status.finished)
_SETTLED_AFTER_S = 600.0  # ids sort by time; nothing that is older is still to be committed


class _Outcome(NamedTuple):
    status: str
    code: str | None


class JobFigures:
    """`name` begins the names of the metrics; with `unit`, what the jobs that succeeded have done is counted as well.

    Jobs are kept for ever, so their counts only grow. Those that can change no more are counted once: a scrape reads
    the open ones by an index, and the recent ones by their ids.
    """

    def __init__(self, database: Database, kind: JobKind, name: str, unit: str | None = None) -> None:
        self._db = database
        self._kind = kind
        self._name = name
        self._unit = unit
        self._guard = threading.Lock()
        self._settled = ""  # ids below it have been counted, below
        self._ended: Counter[_Outcome] = Counter()
        self._done = 0

    def read(self) -> Iterable[Metric]:
        name, kind = self._name, self._kind
        with self._guard, self._db.read() as connection:
            now = self._db.now(connection)
            waiting = (jobs.c.kind == kind) & jobs.c.status.in_(_OPEN)
            figures = func.count(), func.min(jobs.c.created_at), func.min(jobs.c.id)
            count, oldest_at, first_open = connection.execute(select(*figures).where(waiting)).one()
            settled = f"job_{int(1000 * (now - _SETTLED_AFTER_S)):012x}"
            settled = max(self._settled, min(settled, first_open or settled))
            old, old_done = self._count(connection, (jobs.c.id >= self._settled) & (jobs.c.id < settled))
            recent, recent_done = self._count(connection, jobs.c.id >= settled)
            self._settled, self._ended, self._done = settled, self._ended + old, self._done + old_done
            ended, done = self._ended + recent, self._done + recent_done
        yield GaugeMetricFamily(f"{name}_jobs_open", "Jobs queued or running.", count)
        age_s = max(0.0, now - oldest_at) if count else 0.0
        yield GaugeMetricFamily(f"{name}_job_oldest_age_seconds", "Age of the oldest open job; 0: none is.", age_s)
        by_status = CounterMetricFamily(f"{name}_jobs_ended", "Jobs by how they ended.", labels=["status"])
        for status in _ENDED:
            by_status.add_metric([status], sum(n for outcome, n in ended.items() if outcome.status == status))
        yield by_status
        failures = CounterMetricFamily(f"{name}_failures", "Jobs that failed, by code.", labels=["code"])
        for outcome, n in ended.items():
            if outcome.status == JobStatus.failed:
                failures.add_metric([outcome.code or "unknown"], n)
        yield failures
        if self._unit:
            yield CounterMetricFamily(
                f"{name}_{self._unit}", f"{self._unit.capitalize()} of jobs that succeeded.", done
            )

    def _count(self, connection: Connection, among: ColumnElement[bool]) -> tuple[Counter[_Outcome], int]:
        """The ended jobs `among`, and what those that succeeded have done."""
        columns = jobs.c.status, jobs.c.error_code
        # Not filtered by status: SQLite would take the index on that, and read every job there ever was.
        query = select(*columns, func.count(), func.coalesce(func.sum(jobs.c.done), 0)).group_by(*columns)
        ended: Counter[_Outcome] = Counter()
        done = 0
        for status, code, count, pieces in connection.execute(query.where(jobs.c.kind == self._kind, among)):
            if status in _ENDED:
                ended[_Outcome(status, code)] += count
                done += int(pieces) if status == JobStatus.succeeded else 0
        return ended, done
