"""The history of releases, and the lock around it, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from services.core.catalog import Catalog
from services.core.errors import NotFound, ReleaseInProgress
from services.core.exclusive import exclusive
from services.core.tables import release_events
from services.eval.release_log import ReleaseLog
from services.eval.verdicts import VerdictStore
from tests.verdicts import add_verdict

A, B = "capstone@" + "a" * 12, "capstone@" + "b" * 12


def test_a_change_is_an_intent_and_then_its_end(catalog: Catalog) -> None:
    log = ReleaseLog(catalog.database)
    assert log.unfinished() is None and log.newest(after=None, limit=5) == []
    first = log.begin("promotion", {"release": A})
    assert log.unfinished() == first and first.end is None
    ended = log.end(first, "failed", {"detail": "no"})
    second = log.begin("rollback", {"release": B})
    log.end(second, "done", {"detail": None})
    assert log.unfinished() is None
    newest = log.newest(after=None, limit=5)
    assert [(one.kind, one.end, one.body) for one in newest] == [
        ("rollback", "done", {"release": B}),
        ("promotion", "failed", {"release": A}),
    ]
    assert log.newest(after=second.id, limit=5) == [ended]
    assert log.newest(after=None, limit=1) == newest[:1]


def test_no_change_begins_before_the_last_has_ended_and_none_ends_twice(catalog: Catalog) -> None:
    log = ReleaseLog(catalog.database)
    first = log.begin("promotion", {})
    with pytest.raises(ReleaseInProgress):
        log.begin("promotion", {})
    log.end(first, "done", {})
    with pytest.raises(ReleaseInProgress):
        log.end(first, "failed", {})
    assert [one.end for one in log.newest(after=None, limit=5)] == ["done"]


def test_of_many_who_begin_at_once_one_does(catalog: Catalog) -> None:
    log, began, refused = ReleaseLog(catalog.database), list[Any](), list[Any]()

    def begin() -> None:
        try:
            began.append(log.begin("promotion", {}))
        except ReleaseInProgress as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(began), len(refused)) == (1, 5)
    assert log.unfinished() == began[0]


@pytest.mark.parametrize("change", [sa.update(release_events).values(body={}), sa.delete(release_events)])
def test_the_database_refuses_to_rewrite_history(catalog: Catalog, change: Any) -> None:
    log = ReleaseLog(catalog.database)
    log.end(log.begin("promotion", {"override_reason": "we had to"}), "done", {})
    with pytest.raises(DatabaseError, match="kept for ever"), catalog.database.write() as connection:
        connection.execute(change)
    assert log.newest(after=None, limit=5)[0].body == {"override_reason": "we had to"}


def test_one_at_a_time_holds_a_lock(catalog: Catalog) -> None:
    database = catalog.database
    with exclusive(database, "x") as first:
        with exclusive(database, "x") as second, exclusive(database, "y") as other:
            assert (first, second, other) == (True, False, True)
        with exclusive(database, "x") as still:
            assert not still, "a refusal frees nothing"
    with pytest.raises(ZeroDivisionError), exclusive(database, "x"):
        raise ZeroDivisionError
    with exclusive(database, "x") as again:
        assert again


def test_the_newest_verdict_on_exactly_two_releases_counts(catalog: Catalog) -> None:
    verdicts = VerdictStore(catalog.database)
    assert verdicts.newest(A, B) is None
    passed = add_verdict(catalog, A, B, 0.2)
    assert verdicts.newest(B, A) is None
    found = verdicts.newest(A, B)
    assert found is not None and (found.id, found.passed, found.dataset_sha256) == (passed, True, "0" * 64)
    refused = add_verdict(catalog, A, B, 0.0)
    newest = verdicts.newest(A, B)
    assert newest is not None and (newest.id, newest.passed) == (refused, False)
    assert verdicts.get(passed).facts()["metrics"]["quality"]["gained"] is True
    with pytest.raises(NotFound):
        verdicts.get("ver_0")
