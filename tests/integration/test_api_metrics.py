"""What the api service counts, and what it does not count: the service in this process, without weights."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import generate_latest

from services.api.answer import Question
from services.api.app import create_app
from services.api.generate import Decoding, Finish
from services.api.metrics import ApiMetrics
from services.api.resources import ApiResources
from services.api.served import smoke_test
from services.api.watched import Pieces, watched
from services.core.errors import Overloaded
from services.core.telemetry import Telemetry
from services.core.tracing import NO_TRACER, Spans
from tests import samples
from tests.scraped import samples_of, value
from tests.weightless import weightless

TEXT = "The bell is rung every 12 minutes when there is fog.\nThe lamp is trimmed at nine by the keeper."
ASKED = {"question": "How often is the bell rung in fog?"}
OF_USERS = ("answer", "retrieval_", "gen_ai_")
MODEL = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "capstone", "gen_ai_request_model": "scripted"}


@pytest.fixture
def app(tmp_path: Path, request: pytest.FixtureRequest) -> FastAPI:
    """With the texts of questions in the log if a test asks for that."""
    others = {"max_waiting_generations": 0, "log_text": hasattr(request, "param")}
    return create_app(weightless(tmp_path, mlflow_uri=f"sqlite:///{tmp_path}/m.db", **others))


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as http:
        samples.publish(app.state.api.catalog, TEXT, encoder=app.state.api.encoder)
        yield http


@pytest.fixture
def parts(http: TestClient, app: FastAPI) -> ApiResources:
    found: ApiResources = app.state.api
    return found


def scraped(http: TestClient) -> str:
    return http.get("/metrics").text


def lines_of_requests(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.message == "request"]


def of_users(http: TestClient) -> dict[Any, float]:
    return {key: number for key, number in samples_of(scraped(http)).items() if key[0].startswith(OF_USERS)}


def test_an_answer_is_counted_and_timed(http: TestClient) -> None:
    answer = http.post("/v1/answers", json=ASKED).json()
    text = scraped(http)
    assert value(text, "answers_total", mode=answer["mode"]) == value(text, "answers_total") == 1
    assert value(text, "answer_citations_sum") == len(answer["citations"]) > 0
    assert value(text, "answer_unverified_quotes_total") == 0
    for stage, ms in answer["timings_ms"].items():
        assert value(text, "answer_stage_duration_seconds_sum", stage=stage) == pytest.approx(ms / 1000)
    for stage in ("encode", "dense", "lexical", "fuse", "rerank", "fetch"):
        assert value(text, "retrieval_stage_duration_seconds_count", stage=stage) == 1
    assert value(text, "retrieval_stage_duration_seconds_count", stage="filter") == 0
    assert 0 < value(text, "retrieval_top_score_sum") <= 1 and 0 < value(text, "retrieval_top_sufficiency_sum") <= 1
    usage = answer["usage"]
    assert value(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="input", **MODEL) == usage["prompt_tokens"]
    said = usage["completion_tokens"]
    assert value(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="output", **MODEL) == said > 1
    for name in ("time_to_first_token", "time_per_output_token", "request_duration"):
        assert value(text, f"gen_ai_server_{name}_seconds_count", **MODEL) == 1
    assert value(text, "queue_wait_seconds_count", queue="generator") == 1
    assert value(text, "inference_batch_size_count", model="encoder") > 0
    assert value(text, "inference_batch_size_sum", model="classifier") > 2, "passages, then their sentences"


def test_an_abstention_and_a_search_that_finds_nothing(http: TestClient) -> None:
    assert http.post("/v1/answers", json=ASKED | {"collection": "empty"}).json()["abstained"]
    text = scraped(http)
    assert value(text, "answers_total", mode="abstained") == value(text, "answers_total") == 1
    assert (value(text, "answer_citations_bucket", le="0.0"), value(text, "answer_citations_sum")) == (1, 0)
    assert (value(text, "retrieval_top_score_count"), value(text, "retrieval_top_score_sum")) == (1, 0)
    assert value(text, "gen_ai_server_request_duration_seconds_count") == 0


def test_a_completion_and_a_search_are_counted(http: TestClient) -> None:
    messages = [{"role": "user", "content": "The bell rings. And then\n\nWhen?"}]
    body = {"model": "scripted", "messages": messages}
    assert http.post("/v1/chat/completions", json=body).json()["usage"]["completion_tokens"] == 3
    assert "[DONE]" in http.post("/v1/chat/completions", json=body | {"stream": True}).text
    assert http.post("/v1/search", json={"query": "bell"}).is_success
    text = scraped(http)
    assert value(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 6
    assert value(text, "gen_ai_server_request_duration_seconds_count", error_type="") == 2
    assert value(text, "retrieval_top_score_count") == 1 and value(text, "answers_total") == 0


def test_what_no_user_asked_for_is_not_counted(http: TestClient, parts: ApiResources) -> None:
    first = http.post("/v1/answers", json=ASKED).json()
    before = of_users(http)
    assert http.post(f"/v1/lineage/{first['id']}/replay").is_success
    evaluation = {"X-Capstone-Purpose": "evaluation"}
    asked = http.post("/v1/answers", json=ASKED, headers=evaluation).json()
    assert http.get(f"/v1/answers/{asked['id']}").json()["evaluation"] is True
    assert http.get(f"/v1/answers/{first['id']}").json()["evaluation"] is False
    assert http.post("/v1/search", json={"query": "bell"}, headers=evaluation).is_success
    kept: list[dict[str, Any]] = []
    shadow = parts.live.answerer.aside(parts.admission, lambda _collection, body: kept.append(body))
    shadow.answer(Question(ASKED["question"], "default", 3, Decoding()), threading.Event())
    assert len(kept) == 1
    smoke_test(parts.live)
    assert of_users(http) == before


def test_a_refusal_is_counted_and_its_code(http: TestClient, parts: ApiResources) -> None:
    with parts.admission.slot(threading.Event()):
        assert http.post("/v1/answers", json=ASKED).status_code == 429
        assert value(scraped(http), "queue_waiting", queue="generator") == 0
    text = scraped(http)
    assert value(text, "queue_refusals_total", queue="generator", reason="full") == 1
    assert value(text, "problems_total", code="overloaded") == value(text, "problems_total") == 1
    assert value(text, "answers_total") == 0


def test_the_views_tell_their_rows_and_lag(http: TestClient, parts: ApiResources) -> None:
    text = scraped(http)
    assert [value(text, "index_lag", view=view) for view in ("dense", "lexical")] == [1, 1]
    http.post("/v1/search", json={"query": "bell"})
    text = scraped(http)
    for view in ("dense", "lexical"):
        assert (value(text, "index_rows", view=view), value(text, "index_lag", view=view)) == (2, 0)
    assert value(text, "release_info", role="champion", release="none") == 1
    assert value(text, "capstone_build_info", service="api") == 1


# The line in the log ----------------------------------------------------------------------------------------------


def test_an_answers_line_has_its_lineage_and_not_its_question(
    http: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "capstone")
    streamed = http.post("/v1/answers", json=ASKED, headers={"Accept": "text/event-stream", "X-Request-ID": "mine"})
    classified = http.post("/v1/classify", json={"model": "sufficiency", "inputs": [{"text": "a", "text_pair": "b"}]})
    http.post("/v1/answers", json={})
    answered, labelled, refused = lines_of_requests(caplog)
    assert answered["request_id"] == "mine" and answered["lineage_id"] in streamed.text
    assert answered["mode"] in ("generated", "extractive") and "code" not in answered
    assert labelled["lineage_id"] == classified.json()["lineage"]["id"]
    assert refused["code"] == "invalid_request" and "lineage_id" not in refused
    assert "bell" not in repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize("app", ["with texts"], indirect=True)
def test_with_the_setting_the_question_is_there(http: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "capstone")
    http.post("/v1/answers", json=ASKED)
    (line,) = lines_of_requests(caplog)
    assert line["question"] == ASKED["question"]


# A use of the generator -------------------------------------------------------------------------------------------


def spoken(pieces: Pieces, stop: threading.Event, take: int | None = None) -> str:
    telemetry = Telemetry()
    spans = Spans(NO_TRACER, "ans_1")
    found = watched(pieces, "m@1", Decoding(), stop, spans, ApiMetrics(telemetry))
    try:
        for _ in range(take) if take is not None else iter(int, 1):
            next(found)
    except (StopIteration, Overloaded):
        pass
    found.close()
    return generate_latest(telemetry.registry).decode()


def pieces() -> Pieces:
    yield "one"
    yield " two"
    yield Finish("stop", 7, 2)


def refused() -> Pieces:
    raise Overloaded("The generator was busy for too long.")
    yield ""


@pytest.mark.parametrize(("take", "error_type"), [(None, ""), (1, "client_closed_request")])
def test_a_reader_that_leaves_is_told_apart(take: int | None, error_type: str) -> None:
    text = spoken(pieces(), threading.Event(), take)
    assert value(text, "gen_ai_server_request_duration_seconds_count", error_type=error_type) == 1
    assert value(text, "gen_ai_server_request_duration_seconds_count") == 1
    ended = take is None
    assert value(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 7 * ended
    assert value(text, "gen_ai_server_time_to_first_token_seconds_count") == ended


def test_one_that_was_stopped_or_refused_is_no_success() -> None:
    stop = threading.Event()
    stop.set()
    for text, code in ((spoken(pieces(), stop), "client_closed_request"), (spoken(refused(), stop), "overloaded")):
        assert value(text, "gen_ai_server_request_duration_seconds_count", error_type=code) == 1
        assert value(text, "gen_ai_client_token_usage_count") == 0
