"""References and windows of captures in the catalog: what is compared with what, and what was found.

A window is a row from the moment that its job is queued, and both are written together. Whoever freezes a reference or
queues windows holds the counter of the captures, so that of several who look at once, or again after a crash, each
sees what the one before has done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, insert, select, update

from services.core.captures import (
    Kind,
    Rows,
    count_after,
    newest_kind,
    newest_seqs,
    rows_between,
    seqs_after,
    stand_still,
)
from services.core.catalog import Catalog
from services.core.drift_rules import DriftRules
from services.core.errors import EmptyWindow, NoReference, NotFound, ReferenceOfAnotherRelease, TooFewCaptures
from services.core.lease import Lease
from services.core.tables import drift_references, drift_windows, jobs, new_id
from services.core.types import JobKind, JobStatus
from services.eval.drift import DriftTest, drifted

UNIT = "windows"
_BRIEF = [drift_references.c[name] for name in ("id", "version", "created_at", "row_count", "last_seq", "sha256")]


@dataclass(frozen=True, slots=True)
class Reference:
    """`version` counts those of a release, from 1; windows begin after the capture `last_seq`."""

    id: str
    kind: Kind
    version: int
    created_at: float
    row_count: int
    last_seq: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Window:
    """`number` counts full windows after the reference, from 1; None for one that somebody wanted judged.

    `judged_at`, `drift`, `tests` and `report` (is the page still kept?) are None until it has been judged. `status` is
    that of its job, and `error` why that failed.
    """

    id: str
    job_id: str
    reference_id: str
    number: int | None
    first_seq: int
    last_seq: int
    row_count: int
    created_at: float
    judged_at: float | None
    drift: bool | None
    tests: list[dict[str, Any]] | None
    report: bool | None
    status: JobStatus
    error: tuple[str, str] | None


@dataclass(frozen=True)
class State:
    """Of the release that gave the newest captured answer. `captured` are its captures since the last full window, or
    all of them while there is no reference. `windows` are the newest of its newest reference, newest first."""

    kind: Kind | None
    reference: Reference | None
    captured: int
    alarm: bool
    windows: list[Window]


class DriftStore:
    """Methods block."""

    def __init__(self, catalog: Catalog) -> None:
        self._db = catalog.database
        self._jobs = catalog.jobs

    # What is to be compared ------------------------------------------------------------------------------------

    def follow(self, rules: DriftRules) -> list[str]:
        """Freeze the first reference of a release once it has rows enough, and queue each window that is full; returns
        the ids of these."""
        queued = []
        with self._db.write() as connection:
            stand_still(connection)
            kind = newest_kind(connection)
            if kind is None:
                return []
            reference = _newest_reference(connection, kind)
            if reference is None:
                first = seqs_after(connection, kind, 0, rules.reference_rows)
                if len(first) < rules.reference_rows:
                    return []
                reference = self._freeze(connection, rows_between(connection, kind, first[0], first[-1]))
            number, begin = _last_window(connection, reference)
            while len(seqs := seqs_after(connection, kind, begin, rules.window_rows)) == rules.window_rows:
                number, begin = number + 1, seqs[-1]
                queued.append(self._queue(connection, reference, seqs, number))
        return queued

    def freeze(self, rules: DriftRules) -> Reference:
        """Make the newest captures of the release that answers now its reference.

        Raises EmptyWindow or TooFewCaptures.
        """
        with self._db.write() as connection:
            stand_still(connection)
            kind = newest_kind(connection)
            seqs = newest_seqs(connection, kind, 0, rules.reference_rows) if kind else []
            if kind is None or not seqs:
                raise EmptyWindow("Nothing is captured yet, so there is nothing to make a reference of.")
            if len(seqs) < rules.reference_rows:
                raise TooFewCaptures(
                    f"A reference has {rules.reference_rows} captures, and {kind.release} has {len(seqs)}."
                )
            return self._freeze(connection, rows_between(connection, kind, seqs[0], seqs[-1]))

    def want(self, reference_id: str | None, rules: DriftRules) -> Window:
        """Queue the newest captures after the reference to be judged now. They count for no alarm.

        Without an id it is the newest reference of the release that answers now. Raises NotFound, NoReference,
        ReferenceOfAnotherRelease, EmptyWindow or TooFewCaptures.
        """
        with self._db.write() as connection:
            kind = newest_kind(connection)
            if reference_id is not None:
                reference = _reference(connection, reference_id)
                if kind is not None and reference.kind != kind:
                    raise ReferenceOfAnotherRelease(
                        f"The reference is of {reference.kind.release} with {reference.kind.encoder}, and what is "
                        f"captured now of {kind.release} with {kind.encoder}: they cannot be compared."
                    )
            else:
                found = _newest_reference(connection, kind) if kind else None
                if found is None:
                    raise NoReference(
                        f"There is no reference of the release that answers now. The first {rules.reference_rows} "
                        "captured answers become one."
                    )
                reference = found
            seqs = newest_seqs(connection, reference.kind, reference.last_seq, rules.window_rows)
            if not seqs:
                raise EmptyWindow("Nothing has been captured since the reference: there is nothing to compare with it.")
            if len(seqs) < rules.min_rows:
                raise TooFewCaptures(f"A window has {rules.min_rows} captures at least, and there are {len(seqs)}.")
            window_id = self._queue(connection, reference, seqs, None)
        return self.window(window_id)

    # What is compared ------------------------------------------------------------------------------------------

    def window(self, window_id: str) -> Window:
        with self._db.read() as connection:
            row = connection.execute(_windows().where(drift_windows.c.id == window_id)).first()
        if row is None:
            raise NotFound(f"There is no window {window_id!r}.")
        return _window_of(row)

    def rows(self, window: Window) -> tuple[Rows, Rows]:
        """The reference's, and those of the window that are still kept."""
        with self._db.read() as connection:
            row = connection.execute(select(drift_references).where(drift_references.c.id == window.reference_id)).one()
            kind = Kind(row.release, row.encoder)
            vectors = np.frombuffer(row.vectors, "<f4").reshape(row.row_count, -1)
            reference = Rows(kind, 0, row.last_seq, vectors, dict(row.figures))
            return reference, rows_between(connection, kind, window.first_seq, window.last_seq)

    def finish(self, lease: Lease, tests: Sequence[DriftTest]) -> None:
        """Keep what was found, and end the job as succeeded: all or nothing. Raises LeaseLost or JobCancelled."""
        with self._db.write() as connection:
            self._jobs.finish(connection, lease.job.id, lease.owner, JobStatus.succeeded, total=1)
            found = {"drift": drifted(tests), "tests": [test.facts() for test in tests], "report": True}
            now = self._db.now(connection)
            mine = drift_windows.c.id == lease.job.subject_id
            connection.execute(update(drift_windows).where(mine).values(judged_at=now, **found))

    # What was found --------------------------------------------------------------------------------------------

    def state(self, rules: DriftRules, limit: int) -> State:
        with self._db.read() as connection:
            kind = newest_kind(connection)
            if kind is None:
                return State(None, None, 0, False, [])
            reference = _newest_reference(connection, kind)
            if reference is None:
                return State(kind, None, count_after(connection, kind, 0), False, [])
            _, begin = _last_window(connection, reference)
            mine = _windows().where(drift_windows.c.reference_id == reference.id)
            found = connection.execute(
                mine.order_by(drift_windows.c.last_seq.desc(), drift_windows.c.id.desc()).limit(limit)
            )
            alarm = _alarm(connection, reference, rules.in_a_row)
            captured = count_after(connection, kind, begin)
            return State(kind, reference, captured, alarm, [_window_of(row) for row in found])

    def last_judged(self, reference: Reference) -> Window | None:
        """The last full window that was judged against it; those judged on demand have no number."""
        judged = drift_windows.c.number.is_not(None) & drift_windows.c.drift.is_not(None)
        mine = _windows().where(drift_windows.c.reference_id == reference.id, judged)
        with self._db.read() as connection:
            row = connection.execute(mine.order_by(drift_windows.c.number.desc()).limit(1)).first()
        return None if row is None else _window_of(row)

    def counts(self) -> dict[bool, int]:
        """How many windows, of all releases, had drifted, and how many not."""
        query = select(drift_windows.c.drift, func.count()).where(drift_windows.c.drift.is_not(None))
        with self._db.read() as connection:
            rows = connection.execute(query.group_by(drift_windows.c.drift))
            return {True: 0, False: 0} | {bool(drift): count for drift, count in rows}

    def reports_beyond(self, kept: int) -> list[str]:
        """Ids of the windows whose report is older than the newest `kept`."""
        query = select(drift_windows.c.id).where(drift_windows.c.report).order_by(drift_windows.c.judged_at.desc())
        with self._db.read() as connection:
            return list(connection.execute(query.offset(kept)).scalars())

    def drop_report(self, window_id: str) -> None:
        with self._db.write() as connection:
            connection.execute(update(drift_windows).where(drift_windows.c.id == window_id).values(report=False))

    # Inside ----------------------------------------------------------------------------------------------------

    def _freeze(self, connection: Connection, rows: Rows) -> Reference:
        of = (drift_references.c.release == rows.kind.release, drift_references.c.encoder == rows.kind.encoder)
        version = connection.execute(select(func.max(drift_references.c.version)).where(*of)).scalar() or 0
        vectors = np.asarray(rows.vectors, "<f4").tobytes()
        values: dict[str, Any] = {
            "id": new_id("ref"),
            "version": version + 1,
            "created_at": self._db.now(connection),
            "row_count": len(rows),
            "last_seq": rows.last_seq,
            "sha256": hashlib.sha256(vectors + json.dumps(rows.figures, sort_keys=True).encode()).hexdigest(),
        }
        more = {"release": rows.kind.release, "encoder": rows.kind.encoder, "vectors": vectors, "figures": rows.figures}
        connection.execute(insert(drift_references).values(**values, **more))
        return Reference(kind=rows.kind, **values)

    def _queue(self, connection: Connection, reference: Reference, seqs: Sequence[int], number: int | None) -> str:
        window_id = new_id("win")
        job_id = self._jobs.enqueue(connection, JobKind.drift, window_id, UNIT)
        connection.execute(
            insert(drift_windows).values(
                id=window_id,
                job_id=job_id,
                reference_id=reference.id,
                number=number,
                first_seq=seqs[0],
                last_seq=seqs[-1],
                row_count=len(seqs),
                created_at=self._db.now(connection),
            )
        )
        return window_id


def _alarm(connection: Connection, reference: Reference, in_a_row: int) -> bool:
    """Have the last so many full windows that were judged all drifted, with none left out between them?"""
    query = select(drift_windows.c.number, drift_windows.c.drift).where(
        drift_windows.c.reference_id == reference.id,
        drift_windows.c.number.is_not(None),
        drift_windows.c.drift.is_not(None),
    )
    rows = connection.execute(query.order_by(drift_windows.c.number.desc()).limit(in_a_row)).all()
    return len(rows) == in_a_row and rows[0].number - rows[-1].number == in_a_row - 1 and all(row.drift for row in rows)


def _reference(connection: Connection, reference_id: str) -> Reference:
    query = select(*_BRIEF, drift_references.c.release, drift_references.c.encoder)
    row = connection.execute(query.where(drift_references.c.id == reference_id)).first()
    if row is None:
        raise NotFound(f"There is no reference {reference_id!r}.")
    return _reference_of(row)


def _newest_reference(connection: Connection, kind: Kind) -> Reference | None:
    query = select(*_BRIEF, drift_references.c.release, drift_references.c.encoder).where(
        drift_references.c.release == kind.release, drift_references.c.encoder == kind.encoder
    )
    row = connection.execute(query.order_by(drift_references.c.version.desc()).limit(1)).first()
    return None if row is None else _reference_of(row)


def _reference_of(row: Any) -> Reference:
    fields = dict(row._mapping)
    return Reference(kind=Kind(fields.pop("release"), fields.pop("encoder")), **fields)


def _last_window(connection: Connection, reference: Reference) -> tuple[int, int]:
    """The number of the last full window, and its last capture; 0 and the reference's if there is none."""
    query = select(func.max(drift_windows.c.number), func.max(drift_windows.c.last_seq)).where(
        drift_windows.c.reference_id == reference.id, drift_windows.c.number.is_not(None)
    )
    number, last_seq = connection.execute(query).one()
    return number or 0, last_seq or reference.last_seq


_OWN = [drift_windows.c[name] for name in Window.__dataclass_fields__ if name in drift_windows.c]


def _windows() -> Any:
    told = (jobs.c.status, jobs.c.error_code, jobs.c.error_detail)
    return select(*_OWN, *told).join(jobs, drift_windows.c.job_id == jobs.c.id)


def _window_of(row: Any) -> Window:
    fields = dict(row._mapping)
    code, detail = fields.pop("error_code"), fields.pop("error_detail")
    fields["status"] = JobStatus(fields["status"])
    return Window(**fields, error=(code, detail or "") if code else None)
