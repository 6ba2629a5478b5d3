"""A little of everything that is counted, said to the platform over HTTP only."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.calls import EXAMPLE, SSE, ingest, upload

# Of the example: what it answers, and what it does not.
QUESTIONS = (
    "What is /srv for?",
    "Where do host-specific configuration files belong?",
    "How long are files in /var/tmp kept?",
    "Which shell does the president of France prefer?",
)
_ROUNDS = 3


def before(http: httpx.Client) -> None:
    """Documents: one that is ingested, one that cannot be, one that is refused at the door."""
    ingest(http, EXAMPLE.read_bytes(), EXAMPLE.name)
    upload(http, b"%PDF-1.7\nnothing follows", "broken.pdf")
    upload(http, b"no PDF", "letter.pdf")


def answers(http: httpx.Client) -> list[str]:
    """Every question a few times, two at once so that some are refused, some as streams. Returns ids of answers."""
    asked = [*QUESTIONS] * _ROUNDS
    random.Random(1).shuffle(asked)
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda number: _ask(http, asked[number], number), range(len(asked))))
    return [reply["id"] for reply in replies if reply]


def _ask(http: httpx.Client, question: str, number: int) -> dict[str, Any] | None:
    body = {"question": question, "max_tokens": 24}
    if number % 4 == 3:
        http.post("/v1/answers", json=body, headers=SSE).read()
        return None
    response = http.post("/v1/answers", json=body)
    return dict(response.json()) if response.is_success else None


def others(http: httpx.Client) -> None:
    """The probe, a search, a classification, an embedding, an unknown path."""
    http.get("/readyz")
    http.post("/v1/search", json={"query": "spool directories", "k": 3})
    pair = {"text": QUESTIONS[0], "text_pair": "/srv contains site-specific data which is served by this system."}
    http.post("/v1/classify", json={"model": "sufficiency", "inputs": [pair]})
    http.get("/v1/nothing")
