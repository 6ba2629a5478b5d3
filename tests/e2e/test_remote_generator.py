"""One `capstone up` answers with the generator of another: with words, lineage, metrics, and when the other is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.calls import SSE, client_of, events, ingest, problem_of, search
from tests.papers import story, story_page
from tests.server import QUICK, Server, start

TOPIC = "the observatory"
ASKED = {"question": story_page(TOPIC, 2), "max_tokens": 64}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(QUICK, tmp_path_factory.mktemp("other"))
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def server(other: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    there = {"CAPSTONE_GENERATOR_URL": f"{other.url}/v1", "CAPSTONE_GENERATOR_MODEL": "scripted"}
    server = start(QUICK | there | {"CAPSTONE_GENERATOR": "openai"}, tmp_path_factory.mktemp("here"))
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with client_of(server.url) as http:
        ingest(http, story(TOPIC, 3), "observatory.pdf")
        yield http


def metric(http: httpx.Client, line: str) -> float:
    values = [row.rpartition(" ")[2] for row in http.get("/metrics").text.splitlines() if row.startswith(line)]
    return float(values[0]) if values else 0.0


def test_the_words_are_the_others_and_the_lineage_says_so(http: httpx.Client, other: Server) -> None:
    answer: dict[str, Any] = http.post("/v1/answers", json=ASKED).raise_for_status().json()
    assert answer["mode"] == "generated" and answer["citations"][0]["verified"]
    assert answer["usage"]["completion_tokens"] > 0
    there = f"scripted@{other.url.removeprefix('http://')}"
    assert answer["lineage"]["generator"] == there
    assert http.get(f"/v1/lineage/{answer['id']}").json()["models"]["generator"] == there
    with client_of(other.url) as remote:
        asked = 'gen_ai_server_request_duration_seconds_count{error_type="",'
        assert metric(remote, asked) >= 1
    assert metric(http, "gen_ai_server_time_to_first_token_seconds_count{") >= 1

    with http.stream("POST", "/v1/answers", json=ASKED, headers=SSE) as response:
        names = [name for name, _ in events(response)]
    assert names.count("delta") > 3 and names[-1] == "final"
    body = {"model": "scripted", "messages": [{"role": "user", "content": "One. Two."}], "max_tokens": 4}
    chat = http.post("/v1/chat/completions", json=body).raise_for_status().json()
    assert (chat["choices"][0]["message"]["content"], chat["choices"][0]["finish_reason"]) == ("One.", "stop")


def test_when_the_other_is_gone_that_is_told_and_the_rest_goes_on(http: httpx.Client, other: Server) -> None:
    assert http.get("/readyz").status_code == 200
    other.kill()
    problem_of(http.get("/readyz"), 503, "generator_unavailable")
    refused = http.post("/v1/answers", json=ASKED)
    problem_of(refused, 503, "generator_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    with http.stream("POST", "/v1/answers", json=ASKED, headers=SSE) as response:
        name, data = list(events(response))[-1]
    assert (name, data["code"]) == ("error", "generator_unavailable")
    assert search(http, story_page(TOPIC, 2)), "searching needs no generator"
    failed = 'gen_ai_server_request_duration_seconds_count{error_type="generator_unavailable",'
    assert metric(http, failed) == 2
