"""Alertmanager's webhook as the eval service takes it: who may, what it takes, and what it says of each alert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from services.core.settings import Settings, load_settings
from services.eval.app import create_app
from tests.calls import problem_of
from tests.notifications import BEARER, TOKEN, alert, notification, told


@contextmanager
def served(folder: Path, **changes: Any) -> Iterator[TestClient]:
    given: dict[str, Any] = {"alert_token": SecretStr(TOKEN), "retrain_project": folder, "release_dir": None}
    with TestClient(create_app(Settings(data_dir=folder / "data", **given | changes))) as http:
        yield http


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path) as http:
        yield http


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """For tests that should change nothing."""
    with served(tmp_path_factory.mktemp("refusing")) as http:
        yield http


def runs(http: TestClient) -> list[dict[str, Any]]:
    return list(http.get("/v1/retraining-runs").raise_for_status().json()["data"])


def counted(http: TestClient) -> dict[str, float]:
    lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith("alerts_received_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_firing_alert_opens_a_run_and_a_replay_does_not(http: TestClient) -> None:
    response = http.post("/v1/alerts", json=notification(alert(0), alert(1, loop="none")), headers=BEARER)
    body = response.json()
    assert response.status_code == 200 and [one["outcome"] for one in body["alerts"]] == ["opened", "ignored"]
    [run] = runs(http)
    assert (run["id"], run["status"], run["alert"]["name"]) == (body["run"], "queued", "DriftDetected")
    assert http.get(f"/v1/retraining-runs/{run['id']}").json() == run
    again = http.post("/v1/alerts", json=notification(alert(0)), headers=BEARER)
    assert again.json() == {
        "run": None,
        "alerts": [{"fingerprint": f"{0:016x}", "name": "DriftDetected", "outcome": "replayed", "run": run["id"]}],
    }
    assert told(http, alert(1)) == ["duplicate"] and len(runs(http)) == 1
    assert counted(http) == {"opened": 1, "ignored": 1, "replayed": 1, "duplicate": 1}
    assert 'retraining_runs{status="queued"} 1.0' in http.get("/metrics").text
    problem_of(http.get("/v1/retraining-runs/run_none"), 404, "not_found")
    problem_of(http.post(f"/v1/retraining-runs/{run['id']}/approve"), 409, "not_waiting_approval")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
    ],
)
def test_without_the_token_nothing_is_taken(refusing: TestClient, header: str | None) -> None:
    http, before = refusing, counted(refusing)
    headers = {} if header is None else {"Authorization": header}
    for body in (b"{", b"x" * 100):  # not even told what is wrong with it
        problem_of(http.post("/v1/alerts", content=body, headers=headers), 401, "unauthorized")
    problem_of(http.post("/v1/alerts", json=notification(alert(0)), headers=headers), 401, "unauthorized")
    assert runs(http) == []
    assert counted(http) == before | {"unauthorized": before.get("unauthorized", 0) + 3}


@pytest.mark.parametrize("token", [None, "", " "])
def test_where_no_token_is_set_every_one_is_wrong(tmp_path: Path, token: str | None) -> None:
    with served(tmp_path, alert_token=None if token is None else SecretStr(token)) as http:
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            found = http.post("/v1/alerts", json=notification(alert(0)), headers=headers)
            problem_of(found, 503, "alerts_not_configured")


def test_the_token_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "capstone_alert_token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("CAPSTONE_SECRETS_DIR", str(tmp_path))
    token = load_settings().alert_token
    with served(tmp_path, alert_token=token) as http:
        assert told(http, alert(0)) == ["opened"]
    assert token is not None and TOKEN not in repr(token)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"alerts"',
        b"\xff\xfe",
        {"version": "3"},
        {"version": 4},
        {"alerts": None},
        {"alerts": {}},
        {"groupKey": ""},
        {"groupKey": None},
        {"status": "burning"},
        {"alerts": [alert(0) | {"startsAt": "2026-11-27T10:00:00"}]},  # of which zone?
        {"alerts": [alert(0) | {"labels": {"alertname": 1}}]},
        {"alerts": [alert(0) | {"labels": {"alertname": "\ud800"}}]},
        {"alerts": [alert(0) | {"fingerprint": ""}]},
        {"alerts": [alert(0) | {"fingerprint": "f" * 65}]},
        {"alerts": [alert(0) | {"status": None}]},
        {"alerts": [alert(0), {"status": "firing"}]},
        {"alerts": [alert(0)] * 1_001},
    ],
    ids=str,
)
def test_what_is_no_notification_is_refused_whole(refusing: TestClient, body: bytes | dict[str, Any]) -> None:
    http, before = refusing, counted(refusing)
    if isinstance(body, dict):
        body = json.dumps(notification(alert(0)) | body).encode()
    problem_of(http.post("/v1/alerts", content=body, headers=BEARER), 422, "invalid_alert")
    assert runs(http) == []
    assert counted(http) == before | {"invalid": before.get("invalid", 0) + 1}


def test_a_large_body_is_refused(refusing: TestClient) -> None:
    problem_of(refusing.post("/v1/alerts", content=b" " * (2 << 20), headers=BEARER), 413, "too_large")


def test_where_nothing_is_to_be_trained_the_alert_says_so_and_opens_nothing(tmp_path: Path) -> None:
    with served(tmp_path, retrain_project=None) as http:
        assert told(http, alert(0)) == ["off"] and runs(http) == []
    with served(tmp_path) as http:  # once there is, the next repetition opens one
        assert told(http, alert(0)) == ["opened"]


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    with served(tmp_path, retrain_cooldown_s=0, retrain_max_per_day=3) as http:
        opened = []
        for at in range(3):
            assert told(http, alert(at)) == ["opened"]
            [run] = http.get("/v1/retraining-runs", params={"limit": 1}).json()["data"]
            opened.append(run["id"])
            http.app.state.eval.catalog.jobs.cancel(run["job"]["id"])  # type: ignore[attr-defined]
        assert told(http, alert(3)) == ["limit"]
        page = http.get("/v1/retraining-runs", params={"limit": 2}).json()
        assert [run["id"] for run in page["data"]] == opened[:0:-1] and page["has_more"]
        rest = http.get("/v1/retraining-runs", params={"limit": 2, "after": page["next"]}).json()
        assert [(run["id"], run["status"]) for run in rest["data"]] == [(opened[0], "cancelled")]
