"""Evaluations and ROUGE over HTTP, by the processes that a user starts."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from rouge_score import rouge_scorer

from services.core.rouge import VARIANTS
from tests.calls import SSE, events, ingest, problem_of
from tests.papers import story
from tests.questions import jsonl, story_questions

TOPIC = "the windmill"


@pytest.fixture(scope="module")
def evaluation(quick: httpx.Client) -> dict[str, Any]:
    """One that has been started, of a document of its own."""
    ingest(quick, story(TOPIC, 8), "windmill.pdf", "evaluated")
    rows = jsonl(story_questions(TOPIC, "windmill.pdf", 8))
    files = {"file": ("windmill.jsonl", rows)}
    response = quick.post("/v1/evaluations", files=files, data={"collection": "evaluated"})
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/evaluations/{response.json()['id']}"
    return dict(response.json())


def test_an_evaluation_is_followed_to_its_report(quick: httpx.Client, evaluation: dict[str, Any]) -> None:
    with quick.stream("GET", evaluation["job"]["url"], headers=SSE) as stream:
        told = list(events(stream))
    assert [name for name, _ in told][-1] == "final"
    final = told[-1][1]
    assert (final["kind"], final["evaluation_id"], final["document_id"]) == ("evaluation", evaluation["id"], None)
    assert (final["status"], final["progress"]) == ("succeeded", {"done": 9, "total": 9, "unit": "questions"})
    done = quick.get(f"/v1/evaluations/{evaluation['id']}").json()
    assert done["status"] == "succeeded" and done["summary"]["systems"]["release"]["contains"]["n"] == 8
    assert quick.get(done["report_url"]).text.startswith("<!doctype html>")
    report = quick.get(done["report_url"], headers={"Accept": "application/json"}).json()
    assert len(report["questions"]) == 9


def test_a_bad_row_is_named(quick: httpx.Client) -> None:
    response = quick.post("/v1/evaluations", files={"file": ("bad.jsonl", b'{"id": "x"}\n')})
    problem = problem_of(response, 422, "invalid_dataset")
    assert {"row": 1, "field": "question", "message": "Field required"} in problem["errors"]


def test_ten_thousand_pairs_finish_with_progress(quick: httpx.Client) -> None:
    """In several processes; meanwhile small requests are answered and another large one is refused."""
    texts = [f"page {n} of the manual says that file {n % 97} is kept in folder {n % 13}" for n in range(10_000)]
    pairs = [
        {"prediction": text, "reference": f"the manual says{' on a page' * (n % 3)}: {text.rpartition('that ')[2]}"}
        for n, text in enumerate(texts)
    ]
    seen: list[tuple[str, Any]] = []
    began = threading.Event()

    def score() -> None:
        with quick.stream("POST", "/v1/rouge", json={"pairs": pairs}, headers=SSE) as stream:
            for event in events(stream):
                seen.append(event)
                began.set()

    thread = threading.Thread(target=score)
    thread.start()
    assert began.wait(200)
    assert quick.post("/v1/rouge", json={"pairs": pairs[:1]}).status_code == 200
    refused = quick.post("/v1/rouge", json={"pairs": pairs[:1_001]})
    if len(seen) < 40:
        problem_of(refused, 429, "overloaded")
    thread.join(200)
    done = [data["done"] for name, data in seen if name == "progress"]
    assert len(done) == 40 and done == sorted(done) and done[-1] == 10_000
    name, final = seen[-1]
    assert name == "final" and len(final["pairs"]) == 10_000
    scorer = rouge_scorer.RougeScorer(list(VARIANTS))
    for at in range(0, 10_000, 997):
        want = scorer.score(pairs[at]["reference"], pairs[at]["prediction"])
        for variant, score_ in want.items():
            got = final["pairs"][at][variant]
            assert (got["precision"], got["recall"], got["f1"]) == pytest.approx(tuple(score_), abs=1e-9)
    f1 = final["intervals"]["rougeL"]["f1"]
    assert f1["low"] < final["mean"]["rougeL"]["f1"] < f1["high"]
