"""Drift from questions over HTTP to the alarm: the services in one process, a real worker, Evidently itself."""

from __future__ import annotations

import io
import random
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.cli import show_drift
from services.cli.client import Client
from services.core.captures import CaptureLog, Kind
from services.core.catalog import Catalog
from services.core.jobs import Job
from services.core.settings import Settings
from services.core.types import JobKind
from services.eval.ask import Api
from services.eval.drift_store import DriftStore
from services.eval.drift_worker import DriftWorker
from tests.calls import problem_of
from tests.drifting import RULES, captures, write_params
from tests.one_machine import one_machine
from tests.papers import story
from tests.queue import open_jobs
from tests.server import QUICK, start_worker
from tests.waiting import until

TOPIC, PAGES = "the lighthouse", 12
THINGS = ("kettle", "lantern", "anchor", "violin", "compass", "ladder", "mirror", "barrel")


def usual(rng: random.Random) -> str:
    thing, page = rng.choice(THINGS), rng.randint(1, PAGES)
    return rng.choice(
        [f"Where is the {thing} number {page} of the lighthouse kept?", f"Who may move that {thing} after {page}?"]
    )


def german(rng: random.Random) -> str:
    verb = rng.choice(["einstellen", "abschalten", "verschieben", "prüfen"])
    return f"Wie kann man {rng.choice(['die Uhr', 'das Tor', 'den Ofen'])} heute noch {verb} oder ersetzen?"


@dataclass
class Desk:
    settings: Settings
    catalog: Catalog
    http: httpx.Client
    captured: int = 0

    def ask(self, questions: list[str]) -> None:
        """And wait until they are captured."""
        for question in questions:
            self.http.post("/v1/answers", json={"question": question}).raise_for_status()
        self.captured += len(questions)
        until(lambda: f'captures_total{{outcome="kept"}} {self.captured}.0' in self.http.get("/metrics").text)

    def work(self, **changes: object) -> Job:
        """Look for full windows, judge the next one, and return its job as it is then."""
        worker = DriftWorker(self.settings.model_copy(update=changes), self.catalog, threading.Event())
        worker._owner = "worker"
        worker.tidy()
        job = self.catalog.jobs.claim("worker", 60, JobKind.drift)
        assert job is not None
        worker.work_on(job)
        return self.catalog.jobs.get(job.id)

    def drift(self) -> dict[str, Any]:
        return dict(self.http.get("/v1/drift").raise_for_status().json())

    def metrics(self) -> dict[str, float]:
        lines = [line for line in self.http.get("/metrics").text.splitlines() if line.startswith("drift_")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    settings = Settings(
        data_dir=folder,
        models_dir=Path("none"),
        encoder="hashing",
        generator="scripted",
        classifier="overlap",
        port=0,
        params=write_params(folder),
        drift_reports=2,
    )
    with one_machine(settings, story(TOPIC, PAGES), "lighthouse.pdf") as (settings, catalog, http):
        yield Desk(settings, catalog, http)


def test_questions_of_another_kind_raise_an_alarm_at_the_second_window(desk: Desk) -> None:
    empty = desk.drift()
    assert (empty["release"], empty["alarm"], empty["reference"], empty["windows"]) == (None, False, None, [])
    problem_of(desk.http.post("/v1/drift/references"), 409, "empty_window")
    problem_of(desk.http.post("/v1/drift/windows"), 409, "no_reference")
    rng = random.Random(5)
    with Api(desk.settings.api_base_url, lambda _seconds: None) as api:
        api.answer(usual(rng), "default", None)  # as evaluations ask: that is nobody's question
    desk.ask([usual(rng) for _ in range(60)])
    assert desk.drift()["waiting"] == {"captured": 60, "needed": 40}

    job = desk.work()
    assert (job.status, job.kind, job.done, job.total) == ("succeeded", "drift", 1, 1)
    now = desk.drift()
    [first] = now["windows"]
    assert (now["release"], now["alarm"], now["reference"]["version"], now["reference"]["rows"]) == (
        "none",
        False,
        1,
        40,
    )
    assert (first["number"], first["rows"], first["drift"], first["status"]) == (1, 20, False, "succeeded")
    assert [test["name"] for test in first["tests"]] == ["questions", "question_words", "top_score", "abstained"]
    assert all(test["score"] <= test["threshold"] and not test["drift"] for test in first["tests"])
    told = desk.http.get(first["job"]["url"]).json()
    assert (told["drift_window_id"], told["document_id"], told["evaluation_id"]) == (first["id"], None, None)

    desk.ask([german(rng) for _ in range(20)])
    desk.work()
    second = desk.drift()
    assert second["windows"][0]["drift"] and not second["alarm"], "one window is no alarm"
    desk.ask([german(rng) for _ in range(20)])
    desk.work()
    third = desk.drift()
    assert third["alarm"] and third["waiting"] == {"captured": 0, "needed": 20}
    tests = {test["name"]: test for test in third["windows"][0]["tests"]}
    assert tests["questions"]["drift"] and tests["questions"]["p_value"] == 0.005

    metrics = desk.metrics()
    assert metrics["drift_alarm"] == 1.0 and metrics["drift_reference_rows"] == 40.0
    assert metrics['drift_windows_total{verdict="drift"}'] == 2.0
    assert metrics['drift_windows_total{verdict="steady"}'] == 1.0
    assert metrics['drift_score{test="questions"}'] == tests["questions"]["score"]
    assert metrics['drift_threshold{test="top_score"}'] == tests["top_score"]["threshold"]
    assert 0 <= metrics["drift_last_window_age_seconds"] < 300


def test_the_newest_reports_are_served_and_can_do_nothing_but_draw(desk: Desk) -> None:
    """After the test above: three windows, two reports."""
    newest, middle, oldest = desk.drift()["windows"]
    response = desk.http.get(newest["report_url"]).raise_for_status()
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'") and "connect-src" not in policy
    for word in ("question_words", "top_score", "latency_ms"):
        assert word in response.text
    assert "of the lighthouse kept" not in response.text and "Wie kann man" not in response.text
    assert middle["report_url"] and oldest["report_url"] is None
    problem_of(desk.http.get(f"/v1/drift/reports/{oldest['id']}"), 404, "not_found")
    problem_of(desk.http.get("/v1/drift/reports/win_nowhere"), 404, "not_found")
    problem_of(desk.http.get("/v1/drift/reports/catalog.db"), 422, "invalid_request")
    assert len(list(desk.settings.drift_dir.iterdir())) == 2


def test_a_terminal_shows_the_alarm_and_the_tests(desk: Desk) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    with Client(desk.settings.api_base_url) as client:
        assert show_drift.show(client, console), "the command ends with 1"
    shown = console.export_text()
    for pattern in (
        r"none: drift: 2 windows in a row",
        r"reference 1, 40 answers",
        r"next window: 0 of 20 answers captured",
        r"window 3, 20 answers, .*: drift",
        r"questions +\d\.\d{4} +\d\.\d{4} +0\.0050 +drift",
        r"Report: http.*/v1/drift/reports/win_",
    ):
        assert re.search(pattern, shown), shown


def test_captures_since_the_reference_are_judged_when_somebody_asks(desk: Desk) -> None:
    response = desk.http.post("/v1/drift/windows", json={})
    assert response.status_code == 202 and response.json()["number"] is None
    url = response.headers["location"]
    problem_of(desk.http.get(f"/v1/drift/reports/{response.json()['id']}"), 409, "not_finished")
    assert desk.work(drift_timeout_s=0.01).error_code == "drift_not_judged"
    failed = desk.http.get(url).json()
    assert (failed["status"], failed["drift"], failed["tests"]) == ("failed", None, None)
    assert "Evidently did not answer" in failed["error"]["detail"]
    assert desk.drift()["alarm"], "and nothing else changes"
    problem_of(desk.http.post("/v1/drift/windows", json={"reference": "ref_nowhere"}), 404, "not_found")
    problem_of(desk.http.post("/v1/drift/windows", json={"rows": 3}), 422, "invalid_request")


def test_rules_that_cannot_be_read_leave_serving_untouched(desk: Desk) -> None:
    away = desk.settings.params.rename(desk.settings.params.with_suffix(".away"))
    try:
        problem_of(desk.http.get("/v1/drift"), 500, "settings_problem")
        metrics = desk.metrics()
        assert metrics['drift_windows_total{verdict="drift"}'] == 2.0 and "drift_alarm" not in metrics
        assert desk.http.post("/v1/answers", json={"question": "Where is it?", "capture": False}).is_success
        DriftWorker(desk.settings, desk.catalog, threading.Event()).tidy()
    finally:
        away.rename(desk.settings.params)
    assert desk.drift()["alarm"]


def test_a_new_reference_ends_the_alarm_and_another_release_begins_without_one(desk: Desk) -> None:
    old = desk.drift()["reference"]["id"]
    frozen = desk.http.post("/v1/drift/references")
    assert frozen.status_code == 201 and (frozen.json()["version"], frozen.json()["rows"]) == (2, 40)
    now = desk.drift()
    assert (now["alarm"], now["reference"]["id"], now["windows"]) == (False, frozen.json()["id"], [])
    problem_of(desk.http.post("/v1/drift/windows"), 409, "empty_window")
    log = CaptureLog(desk.catalog.database, 1_000)
    log.save(captures(3, Kind("none", "hashing-384")))
    problem_of(desk.http.post("/v1/drift/windows"), 409, "too_few_captures")
    log.save(captures(3, Kind("capstone@abcdefabcdef", "hashing-384")))
    other = desk.drift()
    assert (other["release"], other["reference"], other["alarm"]) == ("capstone@abcdefabcdef", None, False)
    refused = problem_of(
        desk.http.post("/v1/drift/windows", json={"reference": old}), 409, "reference_of_another_release"
    )
    assert "capstone@abcdefabcdef" in refused["detail"]
    problem_of(desk.http.post("/v1/drift/references"), 409, "too_few_captures")
    assert desk.http.post("/v1/answers", json={"question": "Where is it?"}).is_success


def test_a_window_whose_captures_are_gone_fails_and_says_why(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, params=write_params(tmp_path))
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    CaptureLog(catalog.database, 1_000).save(captures(60))
    DriftStore(catalog).follow(RULES)
    CaptureLog(catalog.database, 15).save(captures(1))
    assert Desk(settings, catalog, httpx.Client()).work().error_code == "captures_gone"
    catalog.close()


def test_a_killed_worker_judges_a_window_once(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, params=write_params(tmp_path))
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    store = DriftStore(catalog)
    env = QUICK | {"CAPSTONE_PARAMS": str(settings.params), "CAPSTONE_DRIFT_EVERY_S": "0.1"}
    doomed = again = start_worker(env, tmp_path, "services.eval.worker")
    try:
        CaptureLog(catalog.database, 1_000).save(captures(40 + 25))  # the figures climb, so the window has drifted
        until(lambda: [one.status for one in store.state(RULES, 9).windows] == ["running"], within_s=240)
        doomed.kill()
        assert doomed.process.returncode == -signal.SIGKILL
        again = start_worker(env, tmp_path, "services.eval.worker")
        until(lambda: all(one.judged_at for one in store.state(RULES, 9).windows), within_s=240)
    finally:
        doomed.kill()
        again.kill()
    found = store.state(RULES, 9)
    [window] = found.windows
    assert (window.number, window.drift, window.status, found.captured) == (1, True, "succeeded", 5)
    assert open_jobs(catalog, JobKind.drift) == 0
    assert [path.name for path in settings.drift_dir.iterdir()] == [f"{window.id}.html"]
    catalog.close()
