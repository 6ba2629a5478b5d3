"""The hand-written questions: read, checked, and divided by document."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from models.errors import BadInput
from models.files import read_jsonl, told
from models.prepare.params import DataParams
from models.section import Section

QUESTIONS = Path("models/data/questions.jsonl")
REMEDY = "Correct or delete the row."
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Question(Section):
    """One row. `page` counts from 1 and is None when the document does not answer; `quote` is verbatim on that page."""

    id: str = Field(pattern=r"^[\w.-]+$")
    document: str = Field(min_length=1)
    kind: str = Field(min_length=1)
    question: str = Field(min_length=3)
    answer: str = Field(min_length=1)
    short_answers: tuple[str, ...]
    page: int | None = Field(ge=1)
    quote: str

    @model_validator(mode="after")
    def _is_whole(self) -> Question:
        if self.page is not None and not (self.quote.strip() and self.short_answers and all(self.short_answers)):
            raise ValueError("an answerable question (one with a page) needs a quote and short_answers")
        if self.page is None and (self.quote or self.short_answers):
            raise ValueError("a question without a page may have neither quote nor short_answers")
        return self

    @property
    def answerable(self) -> bool:
        return self.page is not None


def read_questions(path: Path, known: Collection[str]) -> list[Question]:
    """All rows, in order. `known` are the documents there are.

    Raises BadInput for the first row that is malformed, repeats an id or a question, or names another document.
    """
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for row, body in read_jsonl(path, remedy=REMEDY):
        try:
            question = Question.model_validate_json(json.dumps(body))
        except ValidationError as error:
            raise BadInput(path, told(error), row=row, remedy=REMEDY) from error
        if question.document not in known:
            raise BadInput(
                path,
                f"{question.document} is not among the sources",
                row=row,
                remedy="Correct the name, or add the document to models/data/sources.yaml.",
            )
        for text in (question.id, question.question.casefold()):
            if text in seen:
                raise BadInput(path, f"{text!r} is in row {seen[text]} already", row=row, remedy=REMEDY)
            seen[text] = row
        questions.append(question)
    return questions


def split_of(document: str, params: DataParams) -> Split:
    if document in params.test:
        return "test"
    return "validation" if document in params.validation else "train"


def selected(questions: Sequence[Question], params: DataParams, params_path: Path) -> list[Question]:
    """The questions about the documents that `params` selects. Raises BadInput if a split would be empty."""
    names = {question.document for question in questions}
    wanted = names if params.documents is None else set(params.documents)
    for name in sorted((wanted | set(params.test) | set(params.validation)) - names):
        raise BadInput(
            params_path, f"data names {name}, but there are no questions about it", remedy="Correct the name."
        )
    chosen = [question for question in questions if question.document in wanted]
    for split in SPLITS:
        answerable = [q for q in chosen if q.answerable and split_of(q.document, params) == split]
        if not answerable:
            raise BadInput(
                params_path,
                f"the split {split!r} has no answerable question",
                remedy="Select another document for it in data.documents, data.test or data.validation.",
            )
    return chosen
