"""A little of everything that is counted, said to the platform over HTTP only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.calls import EXAMPLE, SSE, ingest, upload

ALERT_TOKEN = "watch"
# Of the example: what it answers, and what it does not.
QUESTIONS = (
    "What is /srv for?",
    "Where do host-specific configuration files belong?",
    "How long are files in /var/tmp kept?",
    "Which shell does the president of France prefer?",
)
_ROUNDS = 4
_AT_ONCE = 4


def before(http: httpx.Client) -> None:
    """Documents: one that is ingested, one that cannot be, one that is refused at the door."""
    ingest(http, EXAMPLE.read_bytes(), EXAMPLE.name)
    upload(http, b"%PDF-1.7\nnothing follows", "broken.pdf")
    upload(http, b"no PDF", "letter.pdf")


def answers(http: httpx.Client) -> None:
    """Every question a few times, one of them as a stream; more at once than may wait; readers say what they think."""
    told = [_ask(http, question) for question in QUESTIONS * _ROUNDS]
    http.post("/v1/answers", json=_body(QUESTIONS[0]), headers=SSE).read()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda question: _ask(http, question), QUESTIONS[:1] * _AT_ONCE))
    for answer, verdict in zip([one for one in told if one], ("up", "down", "up"), strict=False):
        http.post(f"/v1/answers/{answer['id']}/feedback", json={"verdict": verdict})


def others(http: httpx.Client) -> None:
    """The probe, a search, a classification, an unknown path, an alert that asks for nothing."""
    http.get("/readyz")
    http.post("/v1/search", json={"query": "spool directories", "k": 3})
    pair = {"text": QUESTIONS[0], "text_pair": "/srv contains site-specific data which is served by this system."}
    http.post("/v1/classify", json={"model": "sufficiency", "inputs": [pair]})
    http.get("/v1/nothing")
    http.post("/v1/alerts", json=_notification(), headers={"Authorization": f"Bearer {ALERT_TOKEN}"})


def _ask(http: httpx.Client, question: str) -> dict[str, Any] | None:
    """None if it was refused."""
    response = http.post("/v1/answers", json=_body(question))
    return dict(response.json()) if response.is_success else None


def _body(question: str) -> dict[str, Any]:
    return {"question": question, "max_tokens": 16}


def _notification() -> dict[str, Any]:
    """As Alertmanager posts it."""
    alert = {"labels": {"alertname": "Rehearsal"}, "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "0f"}
    return {"version": "4", "groupKey": "{}", "status": "firing", "alerts": [alert | {"status": "firing"}]}
