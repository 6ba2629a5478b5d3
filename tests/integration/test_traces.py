"""Traces of answers, sent to a collector over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.api.app import create_app
from services.core.errors import SettingsProblem
from services.core.settings import load_settings
from tests import samples
from tests.otlp import Collector, attributes_of, collector
from tests.server import ROOT, free_port
from tests.weightless import weightless

TEXT = "The bell is rung every 12 minutes when there is fog.\nThe lamp is trimmed at nine by the keeper."
QUESTION = "How often is the bell rung in fog?"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@contextmanager
def service(folder: Path, traces: str | None) -> Iterator[TestClient]:
    settings = weightless(folder, mlflow_uri=f"sqlite:///{folder}/m.db", traces=traces)
    with TestClient(app := create_app(settings)) as http:
        samples.publish(app.state.api.catalog, TEXT, encoder=app.state.api.encoder)
        yield http


@pytest.fixture
def spans_at() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_one_trace(tmp_path: Path, spans_at: Collector, stream: bool) -> None:
    headers = TRACEPARENT | {"Authorization": "Bearer secret"} | ({"Accept": "text/event-stream"} if stream else {})
    with service(tmp_path, spans_at.url) as http:
        answer = http.post("/v1/answers?why=secret", json={"question": QUESTION}, headers=headers)
        assert answer.is_success
        assert http.get("/livez").is_success and http.get("/metrics").is_success
    assert set(spans_at.paths) == {"/v1/traces"} and spans_at.services() == {"capstone-api"}
    spans = spans_at.spans()
    assert spans.keys() == {"POST /v1/answers", "retrieval", "read", "chat scripted", "cite"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    request = spans.pop("POST /v1/answers")
    assert request.parent_span_id.hex() == CALLER
    assert {span.parent_span_id for span in spans.values()} == {request.span_id}
    lineage = attributes_of(request)["capstone.lineage_id"]
    assert str(lineage).startswith("ans_") and str(lineage) in answer.text
    assert {attributes_of(span)["capstone.lineage_id"] for span in spans.values()} == {lineage}
    chat = attributes_of(spans["chat scripted"])
    assert (chat["gen_ai.operation.name"], chat["gen_ai.request.model"]) == ("chat", "scripted")
    assert chat["gen_ai.usage.input_tokens"] and chat["gen_ai.usage.output_tokens"]
    assert attributes_of(spans["retrieval"])["gen_ai.operation.name"] == "retrieval"
    sent = b"".join(spans_at.bodies)
    for word in ("often", "bell", "keeper", "trimmed", "secret"):
        assert word.encode() not in sent, f"{word!r} is of a text or a key"


def test_what_fails_is_told_by_its_code(tmp_path: Path, spans_at: Collector) -> None:
    with service(tmp_path, spans_at.url) as http:
        body = {"question": QUESTION, "filter": {"documents": ["doc_secret"]}}
        assert http.post("/v1/answers", json=body).status_code == 404
    spans = spans_at.spans()
    assert spans.keys() == {"POST /v1/answers", "retrieval"}
    assert attributes_of(spans["retrieval"])["error.type"] == "not_found"
    assert b"doc_secret" not in b"".join(spans_at.bodies)


def test_a_collector_that_is_away_disturbs_nothing(tmp_path: Path) -> None:
    with service(tmp_path, f"http://127.0.0.1:{free_port()}/v1/traces") as http:
        for _ in range(3):
            assert http.post("/v1/answers", json={"question": QUESTION}).is_success
        begun = time.monotonic()
    assert time.monotonic() - begun < 15


def test_without_the_setting_nothing_is_imported_whatever_the_environment_says(spans_at: Collector) -> None:
    code = """
import sys
from fastapi.testclient import TestClient
from services.core.http import service_app
from services.core.settings import Settings
with TestClient(service_app("x", [], Settings())) as http:
    assert http.get("/docs").is_success
loaded = [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
assert not loaded, loaded
"""
    environment = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": spans_at.url}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=120)
    assert not spans_at.bodies


@pytest.mark.parametrize("value", ["collector:4318", "ftp://collector/v1/traces", "http://"])
def test_what_is_no_url_is_refused(value: str) -> None:
    with pytest.raises(SettingsProblem, match="CAPSTONE_TRACES"):
        load_settings(traces=value)


def test_empty_is_off() -> None:
    assert load_settings(traces="").traces is None
