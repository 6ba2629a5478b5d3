"""What the whole system tells Prometheus: what docs/metrics.md says, and no more for hostile words."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.calls import SSE, ended, ingest, upload
from tests.papers import story
from tests.scraped import kinds_of, samples_of, value
from tests.server import ROOT

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*)\|", re.M)
_OF_A_HISTOGRAM = {"le"}


@pytest.fixture(scope="module")
def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels by name."""
    rows = _ROW.findall((ROOT / "docs" / "metrics.md").read_text())
    found = {name: (kind, {label.strip() for label in labels.split(",")} - {""}) for name, kind, labels in rows}
    assert len(found) == len(rows), "a metric has two rows"
    return found


def ask(http: httpx.Client, word: str, n: int) -> None:
    """Every route that takes names and texts from a client, with hostile ones."""
    name = f"{word}{n}"
    keys = {"Authorization": f"Bearer {name}", "Idempotency-Key": name, "X-API-Key": name, "User-Agent": name}
    keys |= {"X-Request-ID": name, "X-Capstone-Purpose": name, "traceparent": name}
    json: list[tuple[str, str, Any]] = [
        ("POST", "/v1/answers", {"question": f"What is {name}?", "collection": name}),
        ("POST", "/v1/answers", {"question": f"What is {name}?", "release": name}),
        ("POST", "/v1/search", {"query": name, "filter": {"documents": [name]}}),
        ("POST", "/v1/classify", {"model": name, "inputs": [{"text": name}]}),
        ("POST", "/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": name}]}),
        ("POST", "/v1/embeddings", {"model": name, "input": name}),
        ("GET", f"/v1/lineage/{name}", None),
        ("GET", f"/v1/documents/{name}", None),
        ("GET", f"/v1/models/{name}", None),
        ("GET", f"/{name}", None),
        (word.upper(), "/v1/answers", None),
    ]
    for method, path, body in json:
        http.request(method, path, json=body, headers=keys)
    job = upload(http, b"%PDF-1.7 " + name.encode(), f"{name}.pdf", name).json()["job"]["id"]
    assert ended(http, job)["status"] == "failed"
    http.post("/v1/evaluations", files={"file": (f"{name}.jsonl", b"{}")}, data={"dataset": name, "release": name})


def series(http: httpx.Client) -> set[Any]:
    return set(samples_of(http.get("/metrics").text))


def test_the_page_names_every_metric_and_no_other(quick: httpx.Client, documented: dict[str, Any]) -> None:
    told = kinds_of(quick.get("/metrics").text)
    assert told == {name: kind for name, (kind, _) in documented.items()}


def test_labels_are_those_of_the_page(quick: httpx.Client, documented: dict[str, Any]) -> None:
    ingest(quick, story("the labels", 2), "labels.pdf", "labels")
    quick.post("/v1/answers", json={"question": "What is it?", "collection": "labels"}, headers=SSE).raise_for_status()
    names = "|".join(map(re.escape, documented))
    seen: dict[str, set[str]] = {}
    for sample, labels in samples_of(quick.get("/metrics").text):
        match = re.fullmatch(rf"({names})(_bucket|_sum|_count)?", sample)
        assert match, sample
        seen.setdefault(match[1], set()).update(label for label, _ in labels)
    for name, found in seen.items():
        kind, expected = documented[name]
        assert found == expected | (_OF_A_HISTOGRAM if kind == "histogram" else set()), name
    assert {"answers_total", "gen_ai_client_token_usage", "retrieval_stage_duration_seconds"} <= seen.keys()


def test_hostile_names_add_no_series(quick: httpx.Client) -> None:
    ask(quick, "evil", 0)
    before = series(quick)
    for n in (1, 2):
        ask(quick, "evil", n)
    after = series(quick)
    assert after == before
    assert not [one for one in after if "evil" in repr(one).lower()]


def test_what_a_worker_did_is_told(quick: httpx.Client) -> None:
    before = quick.get("/metrics").text
    ingest(quick, story("the told ledger", 3), "told.pdf", "told")
    job = upload(quick, b"%PDF-1.7 broken", "broken.pdf", "told").json()["job"]["id"]
    code = ended(quick, job)["error"]["code"]
    after = quick.get("/metrics").text

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    # At least: a job that another test has left may end meanwhile.
    assert more("ingest_pages_total") >= 3 and more("ingest_documents") == 2
    assert more("ingest_jobs_ended_total", status="succeeded") >= 1
    assert more("ingest_jobs_ended_total", status="failed") >= more("ingest_failures_total", code=code) >= 1
    assert value(after, "catalog_up") == 3
