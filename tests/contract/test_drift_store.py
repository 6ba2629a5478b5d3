"""Captures, references and windows, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from services.core.captures import CaptureLog, rows_between, seqs_after
from services.core.catalog import Catalog
from services.core.errors import (
    CapstoneError,
    EmptyWindow,
    NoReference,
    NotFound,
    ReferenceOfAnotherRelease,
    TooFewCaptures,
)
from services.core.lease import Lease
from services.core.tables import captures, drift_references
from services.core.types import JobKind
from services.eval.drift import DriftTest
from services.eval.drift_store import DriftStore, State
from tests.drifting import KIND, OTHER, RULES
from tests.drifting import captures as made
from tests.queue import open_jobs


def judge_next(catalog: Catalog, drift: bool) -> str:
    """End the next job as if its window had been judged so; returns the id of the window."""
    job = catalog.jobs.claim("worker", 60, JobKind.drift)
    assert job is not None
    with Lease(catalog.jobs, job, "worker", 60, threading.Event()) as lease:
        DriftStore(catalog).finish(lease, [DriftTest("questions", 0.2, 0.1, 0.01, drift)])
    return job.subject_id


def state(catalog: Catalog) -> State:
    return DriftStore(catalog).state(RULES, 10)


def numbers(catalog: Catalog) -> list[int | None]:
    return [window.number for window in state(catalog).windows]


def test_captures_are_numbered_without_gaps_whoever_writes(catalog: Catalog) -> None:
    log = CaptureLog(catalog.database, 1_000)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda at: log.save(made(3, start=3 * at)), range(8)))
    with catalog.database.read() as connection:
        assert seqs_after(connection, KIND, 0, 100) == list(range(1, 25))
        rows = rows_between(connection, KIND, 1, 24)
    assert rows.vectors.shape == (24, 4) and sorted(rows.vectors[:, 0]) == list(range(24))
    assert rows.figures["top_score"] == rows.vectors[:, 0].tolist(), "vector and figures of a row stay together"


def test_only_the_newest_captures_are_kept(catalog: Catalog) -> None:
    log = CaptureLog(catalog.database, 10)
    log.save(made(8))
    log.save(made(6, OTHER, 8))
    with catalog.database.read() as connection:
        assert connection.execute(sa.select(captures.c.seq).order_by(captures.c.seq)).scalars().all() == list(
            range(5, 15)
        )
        assert seqs_after(connection, KIND, 0, 100) == [5, 6, 7, 8]


def test_the_first_captures_of_a_release_become_its_reference_and_full_windows_follow(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)
    assert store.follow(RULES) == [] and state(catalog) == State(None, None, 0, False, [])
    log.save(made(39))
    assert store.follow(RULES) == []
    now = state(catalog)
    assert (now.kind, now.reference, now.captured) == (KIND, None, 39)
    log.save(made(1 + 45, start=39))
    first, second = store.follow(RULES)
    now = state(catalog)
    assert now.reference is not None
    assert (now.reference.version, now.reference.row_count, now.reference.last_seq) == (1, 40, 40)
    assert [window.id for window in now.windows] == [second, first] and now.captured == 5
    assert [(window.number, window.first_seq, window.last_seq) for window in now.windows] == [(2, 61, 80), (1, 41, 60)]
    reference, rows = store.rows(now.windows[1])
    assert reference.vectors[:, 0].tolist() == list(range(40)) == reference.figures["top_score"]
    assert rows.vectors[:, 0].tolist() == list(range(40, 60)) and reference.kind == rows.kind == KIND
    assert store.follow(RULES) == [], "each window is queued once"
    assert open_jobs(catalog, JobKind.drift) == 2


def test_a_window_is_queued_once_however_many_look(catalog: Catalog) -> None:
    CaptureLog(catalog.database, 1_000).save(made(40 + 60))
    with ThreadPoolExecutor(6) as pool:
        queued = [
            window for found in pool.map(lambda _: DriftStore(catalog).follow(RULES), range(6)) for window in found
        ]
    assert len(queued) == len(set(queued)) == 3
    assert numbers(catalog) == [3, 2, 1] and open_jobs(catalog, JobKind.drift) == 3


def test_an_alarm_takes_two_windows_in_a_row(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)
    log.save(made(40))
    alarms: list[bool] = []
    for at, drift in enumerate([True, False, True, True, True, False]):
        log.save(made(20, start=40 + 20 * at))
        store.follow(RULES)
        assert state(catalog).alarm == (alarms[-1] if alarms else False), "what is not judged yet changes nothing"
        judge_next(catalog, drift)
        alarms.append(state(catalog).alarm)
    assert alarms == [False, False, False, True, True, False]
    assert store.counts() == {True: 4, False: 2}


def test_a_window_outside_the_row_raises_no_alarm(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)
    log.save(made(40 + 20))
    store.follow(RULES)
    judge_next(catalog, drift=True)
    wanted = store.want(None, RULES)
    assert (wanted.number, wanted.first_seq, wanted.last_seq) == (None, 41, 60)
    assert judge_next(catalog, drift=True) == wanted.id
    assert not state(catalog).alarm and numbers(catalog) == [None, 1]


def test_between_two_windows_that_drifted_none_may_be_missing(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)
    log.save(made(40 + 60))
    store.follow(RULES)
    judge_next(catalog, drift=True)
    job = catalog.jobs.claim("worker", 60, JobKind.drift)
    assert job is not None
    catalog.jobs.cancel(job.id)
    judge_next(catalog, drift=True)
    assert not state(catalog).alarm


def test_a_frozen_reference_begins_anew_and_nobody_can_change_one(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)
    log.save(made(40 + 25))
    store.follow(RULES)
    judge_next(catalog, drift=True)
    frozen = store.freeze(RULES)
    assert (frozen.version, frozen.last_seq, frozen.row_count) == (2, 65, 40)
    now = state(catalog)
    assert now.reference == frozen and (now.captured, now.windows) == (0, [])
    for change in (sa.update(drift_references).values(row_count=1), sa.delete(drift_references)):
        with pytest.raises(sa.exc.DBAPIError, match="never changed"), catalog.database.write() as connection:
            connection.execute(change)


def test_a_release_is_compared_with_its_own_reference_only(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)
    log.save(made(40 + 20))
    store.follow(RULES)
    judge_next(catalog, drift=True)
    reference = state(catalog).reference
    assert reference is not None
    log.save(made(10, OTHER))
    now = state(catalog)
    assert (now.kind, now.reference, now.captured, now.windows) == (OTHER, None, 10, [])
    with pytest.raises(ReferenceOfAnotherRelease, match=r"capstone@one .* capstone@two"):
        store.want(reference.id, RULES)
    with pytest.raises(NoReference):
        store.want(None, RULES)
    log.save(made(20))  # the first release is back: what it had goes on
    store.follow(RULES)
    assert state(catalog).reference == reference and numbers(catalog) == [2, 1]


def test_too_little_to_compare_is_told(catalog: Catalog) -> None:
    store, log = DriftStore(catalog), CaptureLog(catalog.database, 1_000)

    def refused(kind: type[CapstoneError], reference_id: str | None = None) -> None:
        with pytest.raises(kind):
            store.want(reference_id, RULES)

    refused(NoReference)
    refused(NotFound, "ref_nowhere")
    with pytest.raises(EmptyWindow):
        store.freeze(RULES)
    log.save(made(39))
    with pytest.raises(TooFewCaptures, match="40 captures, and capstone@one has 39"):
        store.freeze(RULES)
    log.save(made(1))
    store.follow(RULES)
    refused(EmptyWindow)
    log.save(made(4))
    refused(TooFewCaptures)
    log.save(made(1))
    assert store.want(None, RULES).row_count == 5
