"""Feedback, alerts and retraining runs, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from services.core.catalog import Catalog, new_answer_id
from services.core.errors import InvalidAlert, NotFound
from services.core.feedback import FeedbackLog, Said
from services.core.settings import Settings
from services.core.tables import jobs
from services.core.telemetry import Telemetry
from services.core.types import JobKind, JobStatus
from services.eval.alerts import AlertDesk
from services.eval.retraining import RetrainingStore
from services.eval.snapshot import make_snapshot
from tests.notifications import TOKEN, alert, notification

RETRAINING = JobKind.retraining


def answered(catalog: Catalog, collection: str = "default") -> str:
    answer_id = new_answer_id()
    said = {"question": "Why?", "answer": "So.", "abstained": False, "passages": [], "citations": []}
    catalog.save_answer(collection, {"id": answer_id} | said)
    return answer_id


def desk_of(catalog: Catalog, **changes: Any) -> AlertDesk:
    settings = Settings(alert_token=SecretStr(TOKEN), retrain_project=Path("."), retrain_cooldown_s=0, **changes)
    return AlertDesk(settings, catalog, RetrainingStore(catalog), Telemetry())


def outcomes(desk: AlertDesk, *alerts: dict[str, Any]) -> list[str]:
    return [one.outcome for one in desk.receive(json.dumps(notification(*alerts)).encode())]


def end(catalog: Catalog) -> str:
    job = catalog.jobs.claim("worker", 60, RETRAINING)
    assert job is not None
    catalog.jobs.end(job.id, "worker", JobStatus.failed, error=("made_up", "It was."))
    return job.subject_id


def test_the_newest_of_each_client_counts_and_the_older_ones_stay(catalog: Catalog) -> None:
    log, answer_id, elsewhere = FeedbackLog(catalog.database), answered(catalog), answered(catalog, "other")
    first, new = log.add(answer_id, "Ada", Said("up"))
    assert new and first.version == 1
    assert log.add(answer_id, "Ada", Said("up")) == (first, False)
    second, _ = log.add(answer_id, "Ada", Said("down", corrected="Because."))
    other, _ = log.add(answer_id, "Bob", Said("up"))
    log.add(elsewhere, "Ada", Said("down"))
    assert (second.version, other.version) == (2, 1)
    assert log.of_answer(answer_id) == [first, second, other]
    with catalog.database.read() as connection:
        current = log.current(connection, "default")
    assert current == [second.id, other.id]
    assert [(one, answer["id"]) for one, answer in log.with_answers([other.id, second.id])] == [
        (other, answer_id),
        (second, answer_id),
    ]
    third, _ = log.add(answer_id, "Ada", Said("up"))  # said again, after something else
    assert third.version == 3
    for call in (lambda: log.add("ans_none", "Ada", Said("up")), lambda: log.of_answer("ans_none")):
        with pytest.raises(NotFound):
            call()


def test_a_storm_of_alerts_opens_one_run(catalog: Catalog) -> None:
    desk = desk_of(catalog, retrain_max_per_day=5)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda at: outcomes(desk, alert(at))[0], range(200)))
    assert sorted(set(found)) == ["duplicate", "opened"] and found.count("opened") == 1
    assert len(RetrainingStore(catalog).newest(after=None, limit=10)) == 1
    assert catalog.jobs.claim("worker", 60, RETRAINING) and not catalog.jobs.claim("worker", 60, RETRAINING)


def test_an_alert_opens_once_and_one_that_was_refused_is_decided_on_again(catalog: Catalog) -> None:
    desk = desk_of(catalog, retrain_max_per_day=2)
    assert outcomes(desk, alert(0), alert(1), alert(2, loop="other")) == ["opened", "duplicate", "ignored"]
    end(catalog)
    assert outcomes(desk, alert(0)) == ["replayed"], "it has opened one"
    assert outcomes(desk, alert(1)) == ["opened"], "it still fires, and nothing is open now"
    end(catalog)
    assert outcomes(desk, alert(3)) == ["limit"]
    assert outcomes(desk, alert(3, "resolved"), alert(3)) == ["resolved", "replayed"], "it is over"
    assert outcomes(desk, alert(9, "resolved"), alert(9)) == ["resolved", "replayed"]
    runs = RetrainingStore(catalog).newest(after=None, limit=10)
    assert [(run.alert["name"], run.status) for run in runs] == [("DriftDetected", "failed")] * 2
    with catalog.database.write() as connection:  # a day later
        connection.execute(sa.text("UPDATE retraining_runs SET created_at = created_at - 86401"))
    assert outcomes(desk, alert(4)) == ["opened"]


def test_after_a_run_it_cools_down(catalog: Catalog) -> None:
    desk_of(catalog).receive(json.dumps(notification(alert(0))).encode())
    settings = Settings(alert_token=SecretStr(TOKEN), retrain_project=Path("."), retrain_cooldown_s=3600)
    desk = AlertDesk(settings, catalog, RetrainingStore(catalog), Telemetry())
    end(catalog)
    assert outcomes(desk, alert(1)) == ["cooling_down"]
    with catalog.database.write() as connection:
        connection.execute(sa.update(jobs).values(finished_at=jobs.c.finished_at - 3601))
    assert outcomes(desk, alert(1)) == ["opened"]


def test_a_run_keeps_what_counted_when_it_was_opened(catalog: Catalog, tmp_path: Path) -> None:
    log, runs, answer_id = FeedbackLog(catalog.database), RetrainingStore(catalog), answered(catalog)
    before, _ = log.add(answer_id, "Ada", Said("down", corrected="Because."))
    desk = desk_of(catalog)
    assert outcomes(desk, alert(0)) == ["opened"]
    log.add(answer_id, "Ada", Said("up"))
    [run] = runs.newest(after=None, limit=10)
    assert run.snapshot == {"collection": "default", "index_seq": 0, "feedback": [before.id]}
    assert len(run.snapshot_sha256) == 64 and run.status == "queued"
    assert runs.counts() == dict.fromkeys(runs.counts(), 0) | {"queued": 1}
    settings = Settings(data_dir=tmp_path)
    facts, questions = make_snapshot(settings, catalog, run, [], tmp_path / "snapshot")
    assert (facts["feedback"], facts["unusable"], questions) == (1, {"on_no_page": 1}, [])
    log.add(answer_id, "Bob", Said("up"))
    assert make_snapshot(settings, catalog, run, [], tmp_path / "snapshot") == (facts, []), "it is made once"


def test_what_is_no_notification_changes_nothing(catalog: Catalog) -> None:
    desk = desk_of(catalog)
    bad = notification(alert(0), alert(1) | {"startsAt": "yesterday"})
    with pytest.raises(InvalidAlert, match=r"alerts\.1\.startsAt"):
        desk.receive(json.dumps(bad).encode())
    assert RetrainingStore(catalog).newest(after=None, limit=10) == []
