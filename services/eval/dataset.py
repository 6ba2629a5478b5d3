"""A dataset of questions: JSON lines, each checked, all faults told by row and field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.core.errors import InvalidDataset
from services.core.schemas import Text, encodable

MAX_QUESTIONS = 10_000
UNANSWERABLE = "unanswerable"  # the kind of a question that the documents do not answer
_MAX_CHARS = 8_000  # of a question: what /v1/answers takes

Short = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(encodable)
]
Long = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_MAX_CHARS), AfterValidator(encodable)
]
Problem = dict[str, Any]  # row (the line of the file, from 1), field, message


class Question(BaseModel):
    """One row. `pages` (1-based) of `document` hold the answer; of an unanswerable question there are none.

    Members that are not listed here are allowed, and are not kept.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    id: Short
    kind: Short
    document: Annotated[str, StringConstraints(max_length=255), AfterValidator(encodable)]
    question: Long
    answer: Text
    short_answers: Annotated[list[Long], Field(max_length=100)]
    pages: Annotated[list[Annotated[int, Field(ge=1, lt=2**31)]], Field(max_length=1_000)]
    quote: Text = ""

    @property
    def answerable(self) -> bool:
        return bool(self.pages)


def read_questions(data: bytes) -> list[Question]:
    """The questions of a JSON lines file in UTF-8. Raises InvalidDataset, which names every bad row and field."""
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise InvalidDataset([_problem(row, "row", "It is not UTF-8.")]) from None
    found: list[Question] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        question, wrong = _read(row, line)
        if question is not None:
            if (first := seen.setdefault(question.id, row)) != row:
                wrong.append(_problem(row, "id", f"Row {first} has the same."))
            found.append(question)
        problems += wrong
    if not found and not problems:
        problems.append(_problem(1, "row", "The file holds no questions."))
    if len(found) > MAX_QUESTIONS:
        problems.append(_problem(MAX_QUESTIONS + 1, "row", f"A dataset holds at most {MAX_QUESTIONS} questions."))
    if problems:
        raise InvalidDataset(problems)
    return found


def require_documents(questions: Sequence[Question], names: Collection[str], collection: str) -> None:
    """Raises InvalidDataset for every question about a document that is not among `names`, those of `collection`."""
    message = f"Collection {collection!r} has no document of this name that can be asked."
    missing = [
        _problem(number, "document", message)
        for number, question in enumerate(questions, 1)
        if question.answerable and question.document not in names
    ]
    if missing:
        raise InvalidDataset(missing)


def digest(questions: Sequence[Question]) -> str:
    """The SHA-256 of what the questions say, however the file spelt it."""
    rows = [question.model_dump(mode="json") for question in questions]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _read(row: int, line: str) -> tuple[Question | None, list[Problem]]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, [_problem(row, "row", f"It is not JSON ({error}).")]
    if not isinstance(raw, dict):
        return None, [_problem(row, "row", "It is not a JSON object.")]
    try:
        question = Question.model_validate(raw)
    except ValidationError as error:
        return None, [
            _problem(row, ".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False)
        ]
    return question, _contradictions(row, question)


def _contradictions(row: int, question: Question) -> list[Problem]:
    if not question.answerable:
        if question.kind == UNANSWERABLE:
            return []
        return [_problem(row, "pages", f"There are none, and the kind is not {UNANSWERABLE!r}.")]
    wrong = []
    if question.kind == UNANSWERABLE:
        wrong.append(_problem(row, "pages", f"The kind is {UNANSWERABLE!r}, so there can be none."))
    if not question.document.strip():
        wrong.append(_problem(row, "document", "Pages need the name of their document."))
    if not question.answer.strip():
        wrong.append(_problem(row, "answer", "It is empty."))
    if not question.short_answers:
        wrong.append(_problem(row, "short_answers", "There must be at least one."))
    return wrong


def _problem(row: int, field: str, message: str) -> Problem:
    return {"row": row, "field": field, "message": message}
