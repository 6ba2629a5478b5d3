"""Feedback on answers over HTTP, as a reader gives it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import httpx
import pytest

from tests.calls import ingest, problem_of
from tests.papers import story, story_page
from tests.server import CAPSTONE, Server

TOPIC, COLLECTION = "the bakery", "feedback"


@pytest.fixture(scope="module")
def answer(quick: httpx.Client) -> dict[str, Any]:
    ingest(quick, story(TOPIC, 3), "bakery.pdf", COLLECTION)
    body = {"question": story_page(TOPIC, 2), "collection": COLLECTION}
    given = dict(quick.post("/v1/answers", json=body).raise_for_status().json())
    assert given["citations"]
    return given


def counted(http: httpx.Client) -> dict[str, float]:
    lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith("feedback_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_feedback_is_kept_with_its_versions(quick: httpx.Client, answer: dict[str, Any]) -> None:
    url, before = f"/v1/answers/{answer['id']}/feedback", counted(quick)
    assert quick.get(url).json() == {"data": []}
    first = quick.post(url, json={"verdict": "up", "by": " Ada "})
    assert first.status_code == 201, first.text
    assert (first.json()["by"], first.json()["version"], first.json()["verdict"]) == ("Ada", 1, "up")
    said = {"verdict": "down", "corrected_answer": "Behind door 14.", "wrong_citation": 0, "comment": "no", "by": "Ada"}
    second = quick.post(url, json=said | {"quote": "is kept in"})
    assert second.status_code == 201 and second.json().items() >= said.items() and second.json()["version"] == 2
    again = quick.post(url, json=said | {"quote": "is kept in"})
    assert (again.status_code, again.json()) == (200, second.json())
    stranger = quick.post(url, json={"verdict": "up"}).json()
    assert stranger["by"] == "somebody at 127.0.0.1" and stranger["version"] == 1
    kept = quick.get(url).json()["data"]
    assert [(one["by"], one["version"], one["superseded"]) for one in kept] == [
        ("Ada", 1, True),
        ("Ada", 2, False),
        ("somebody at 127.0.0.1", 1, False),
    ]
    grown = {kind: count - before.get(kind, 0) for kind, count in counted(quick).items()}
    assert {kind: count for kind, count in grown.items() if count} == {
        "up": 2,
        "down": 1,
        "corrected": 1,
        "wrong_citation": 1,
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "sideways"},
        {"verdict": "down", "corrected_answer": " "},
        {"verdict": "down", "corrected_answer": "x" * 4_001},
        {"verdict": "down", "corrected_answer": "\ud800"},
        {"verdict": "down", "comment": "x" * 1_001},
        {"verdict": "down", "wrong_citation": -1},
        {"verdict": "down", "wrong_citation": 9_999},
        {"verdict": "down", "wrong_citation": "first"},
        {"verdict": "up", "corrected_answer": "Another."},
        {"verdict": "up", "wrong_citation": 0},
        {"verdict": "down", "by": "x" * 121},
        {"verdict": "down", "stars": 5},
    ],
    ids=str,
)
def test_what_is_no_feedback_is_refused(quick: httpx.Client, answer: dict[str, Any], body: dict[str, Any]) -> None:
    url = f"/v1/answers/{answer['id']}/feedback"
    before = quick.get(url).json()
    refused = quick.post(url, content=json.dumps(body), headers={"Content-Type": "application/json"})
    problem_of(refused, 422, "invalid_request")
    assert quick.get(url).json() == before


def test_an_answer_that_was_never_given_has_no_feedback(quick: httpx.Client) -> None:
    for said in ({"verdict": "up"}, {"verdict": "down", "wrong_citation": 0}):
        problem_of(quick.post("/v1/answers/ans_none/feedback", json=said), 404, "not_found")
    problem_of(quick.get("/v1/answers/ans_none/feedback"), 404, "not_found")


def test_the_command_gives_it(quick_system: Server, quick: httpx.Client, answer: dict[str, Any]) -> None:
    command = [CAPSTONE, "feedback", answer["id"], "down", "--corrected", "Door 14.", "--url", quick_system.url]
    subprocess.run(command, env=dict(os.environ), timeout=60, check=True, capture_output=True)
    assert quick.get(f"/v1/answers/{answer['id']}/feedback").json()["data"][-1]["corrected_answer"] == "Door 14."
    shown = subprocess.run(
        [CAPSTONE, "retraining", "--url", quick_system.url], timeout=60, check=True, capture_output=True, text=True
    )
    assert "No alert has opened a retraining yet." in shown.stdout
