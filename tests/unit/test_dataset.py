from __future__ import annotations

import json
from typing import Any

import pytest

from services.core.errors import InvalidDataset
from services.eval.dataset import digest, read_questions, require_documents

GOOD: dict[str, Any] = {
    "id": "q1",
    "document": "m.pdf",
    "kind": "fact",
    "question": "Where is the key?",
    "answer": "In the attic.",
    "short_answers": ["attic"],
    "pages": [1],
    "quote": "The key is kept in the attic.",
}
SILENT = {**GOOD, "id": "q2", "kind": "unanswerable", "answer": "", "short_answers": [], "pages": [], "quote": ""}


def lines(*rows: Any) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def faults(data: bytes) -> list[tuple[int, str]]:
    with pytest.raises(InvalidDataset) as refused:
        read_questions(data)
    assert refused.value.code == "invalid_dataset"
    return [(one["row"], one["field"]) for one in refused.value.members["errors"]]


def test_good_rows_are_read() -> None:
    found = read_questions(b"\xef\xbb\xbf" + lines(GOOD, "", {**SILENT, "note": "kept by nobody"}) + b"\n\r\n")
    assert [(one.id, one.answerable) for one in found] == [("q1", True), ("q2", False)]
    assert digest(found) == digest(read_questions(lines(GOOD, dict(reversed(SILENT.items())))))
    assert digest(found) != digest(found[:1])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"question": "  "}, "question"),
        ({"question": None}, "question"),
        ({"question": "x" * 8_001}, "question"),
        ({"question": "\ud800"}, "question"),
        ({"id": 7}, "id"),
        ({"pages": [0]}, "pages.0"),
        ({"pages": ["1"]}, "pages.0"),
        ({"pages": [2**31]}, "pages.0"),
        ({"pages": []}, "pages"),
        ({"kind": "unanswerable"}, "pages"),
        ({"kind": ""}, "kind"),
        ({"document": ""}, "document"),
        ({"answer": ""}, "answer"),
        ({"short_answers": []}, "short_answers"),
        ({"short_answers": "attic"}, "short_answers"),
        ({"short_answers": [""]}, "short_answers.0"),
    ],
)
def test_a_bad_field_is_named_with_its_row(change: dict[str, Any], field: str) -> None:
    assert faults(lines(SILENT, "", GOOD | change)) == [(3, field)]


def test_every_fault_is_told_at_once() -> None:
    short = {name: value for name, value in GOOD.items() if name != "answer"}
    assert faults(lines(GOOD, "{", [1], GOOD, short)) == [(2, "row"), (3, "row"), (4, "id"), (5, "answer")]


def test_a_file_that_holds_no_text_or_no_rows() -> None:
    assert faults(b"") == [(1, "row")] == faults(b"\n \n")
    assert faults(lines(GOOD) + b"\n\xff\xfe") == [(2, "row")]


def test_a_question_about_a_document_that_is_not_there() -> None:
    questions = read_questions(lines(GOOD, {**SILENT, "document": "nowhere.pdf"}))
    require_documents(questions, {"m.pdf"}, "default")
    with pytest.raises(InvalidDataset, match=r"Row 1, document: Collection 'default' has no document"):
        require_documents(questions, {"nowhere.pdf"}, "default")
