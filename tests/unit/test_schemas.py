from __future__ import annotations

from services.api.classify_schemas import ClassifyIn
from services.api.schemas import LoggedAnswer


def test_an_answer_logged_before_there_were_releases_is_read() -> None:
    lineage = {"id": "ans_1", "index_seq": 3, "encoder": "e", "generator": "g", "adapter": None, "prompt": "p"}
    body = {
        "id": "ans_1",
        "answer": "It is so.",
        "abstained": False,
        "citations": [],
        "finish_reason": "stop",
        "lineage": {**lineage, "decoding": {}, "git_commit": "c"},
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "timings_ms": {"total": 1.0},
        "question": "Is it?",
        "collection": "default",
        "passages": [1],
    }
    read = LoggedAnswer.model_validate(body).lineage
    assert (read.release, read.classifier, read.data_sha256) == (None, None, None)


def test_inputs_are_texts_or_pairs() -> None:
    inputs = ["  one ", {"text": "two"}, {"text": "three", "text_pair": None}, {"text": "four", "text_pair": " five\n"}]
    body = ClassifyIn.model_validate({"model": "m", "inputs": inputs})
    assert body.pairs() == [("one", None), ("two", None), ("three", None), ("four", "five")]
