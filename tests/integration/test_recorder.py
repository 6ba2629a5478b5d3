"""What is captured of answers: the api service in this process, on a real SQLite catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from services.api.answer import Question, Seen
from services.api.app import create_app
from services.api.generate import Decoding
from services.api.recorder import Recorder
from services.api.resources import ApiResources, open_resources
from services.api.schemas import AnswerOut
from services.core.captures import NO_RELEASE, CaptureLog, Kind, Rows, newest_kind, rows_between
from services.core.telemetry import Telemetry
from tests import samples
from tests.waiting import until
from tests.weightless import weightless

TEXT = "The bell is rung every 12 minutes when there is fog.\nThe lamp is trimmed at nine by the keeper."
QUESTION = "How often is the bell rung in fog?"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[ApiResources, TestClient]]:
    settings = weightless(tmp_path, models_dir=Path("none"))
    with open_resources(settings, Telemetry()) as resources, TestClient(create_app(settings, resources)) as http:
        samples.publish(resources.catalog, TEXT, encoder=resources.encoder)
        yield resources, http


def kept(resources: ApiResources) -> Rows:
    with resources.catalog.database.read() as connection:
        return rows_between(connection, newest_kind(connection) or Kind("", ""), 1, 1_000)


def test_an_answer_is_captured_in_figures_and_without_its_words(desk: tuple[ApiResources, TestClient]) -> None:
    resources, http = desk
    answer = http.post("/v1/answers", json={"question": QUESTION, "k": 2}).json()
    best = http.post("/v1/search", json={"query": QUESTION, "k": 2}).json()["results"]
    until(lambda: resources.recorder.outcomes() == {"kept": 1})
    rows = kept(resources)
    assert rows.kind == (NO_RELEASE, resources.encoder.id) and len(rows) == 1
    assert np.allclose(rows.vectors[0], resources.encoder.encode([QUESTION])[0])
    figures = {name: values[0] for name, values in rows.figures.items()}
    assert figures.pop("latency_ms") == answer["timings_ms"]["total"]
    assert figures.pop("top_score") == pytest.approx(max(one["score"] for one in best), abs=1e-6)
    assert figures.pop("top_sufficiency") == pytest.approx(max(one["sufficiency"] for one in best), abs=1e-6)
    assert figures == {
        "question_chars": float(len(QUESTION)),
        "question_words": 8.0,
        "question_letters": round(1 - 1 / len(QUESTION), 4),  # all but the question mark
        "answerability": answer["answerability"],
        "generated": float(answer["mode"] == "generated"),
        "abstained": 0.0,
        "citations": float(len(answer["citations"])),
    }
    with resources.catalog.database.read() as connection:
        assert "bell" not in str(connection.execute(sa.text("SELECT * FROM captures")).all())


def test_a_stream_is_captured_and_nobodys_questions_are_not(desk: tuple[ApiResources, TestClient]) -> None:
    resources, http = desk
    asked = http.post("/v1/answers", json={"question": QUESTION, "capture": False}).json()
    assert http.post(f"/v1/lineage/{asked['id']}/replay").is_success
    http.post("/v1/search", json={"query": QUESTION})
    streamed = http.post("/v1/answers", json={"question": "And the lamp?"}, headers={"Accept": "text/event-stream"})
    assert "event: final" in streamed.text
    until(lambda: bool(kept(resources)))
    assert kept(resources).figures["question_words"] == [3.0], "the others would have come before it"


def test_an_answer_from_an_empty_collection_is_captured_too(desk: tuple[ApiResources, TestClient]) -> None:
    resources, http = desk
    http.post("/v1/answers", json={"question": QUESTION, "collection": "empty"})
    until(lambda: resources.recorder.outcomes() == {"kept": 1})
    figures = kept(resources).figures
    assert (figures["top_score"], figures["top_sufficiency"], figures["abstained"]) == ([0.0], [0.0], [1.0])


def test_what_cannot_be_written_is_counted_and_answers_go_out_as_ever(desk: tuple[ApiResources, TestClient]) -> None:
    resources, http = desk
    with resources.catalog.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE captures RENAME TO elsewhere"))
    assert http.post("/v1/answers", json={"question": QUESTION}).is_success
    until(lambda: resources.recorder.outcomes() == {"failed": 1})
    with resources.catalog.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO captures"))
    assert http.post("/v1/answers", json={"question": QUESTION}).is_success
    until(lambda: resources.recorder.outcomes() == {"failed": 1, "kept": 1})
    assert len(kept(resources)) == 1


def test_more_than_can_wait_is_lost_and_counted_and_the_rest_is_written_at_the_end(
    desk: tuple[ApiResources, TestClient],
) -> None:
    resources, http = desk
    answer = AnswerOut.model_validate(http.post("/v1/answers", json={"question": QUESTION, "capture": False}).json())
    recorder = Recorder(CaptureLog(resources.catalog.database, 1_000), 1.0)
    seen = Seen(resources.encoder.encode([QUESTION])[0], 0.5, 0.5)
    for _ in range(300):  # nobody writes yet
        recorder.offer(Question(QUESTION, "default", 2, Decoding()), seen, answer)
    assert recorder.outcomes() == {"lost": 44}
    with recorder:
        pass
    assert recorder.outcomes() == {"lost": 44, "kept": 256} and len(kept(resources)) == 256
    [metric] = recorder.collect()
    assert {sample.labels["outcome"]: sample.value for sample in metric.samples} == {
        "kept": 256,
        "lost": 44,
        "failed": 0,
    }


def test_with_a_share_of_nothing_nothing_is_captured(desk: tuple[ApiResources, TestClient]) -> None:
    resources, http = desk
    answer = AnswerOut.model_validate(http.post("/v1/answers", json={"question": QUESTION, "capture": False}).json())
    with Recorder(CaptureLog(resources.catalog.database, 1_000), 0.0) as recorder:
        seen = Seen(resources.encoder.encode([QUESTION])[0], 0.5, 0.5)
        recorder.offer(Question(QUESTION, "default", 2, Decoding()), seen, answer)
    assert recorder.outcomes() == {}
