"""Tables of scores: what one release got for each question, in each metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from services.core.errors import InvalidRequest
from services.core.release import Sha256

Question = Annotated[str, Field(min_length=1, max_length=200)]
Row = dict[str, FiniteFloat | None]
Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Scores:
    """`values[question][metric]` is None where the metric does not apply to what was said.

    `questions_sha256` is the hash of the questions as they were asked, with their expected answers: equal ids alone do
    not say that the questions are the same.
    """

    release: str
    questions_sha256: str
    values: Mapping[str, Mapping[str, float | None]]

    @property
    def sha256(self) -> str:
        """Of the whole table as canonical JSON, in hexadecimal."""
        body = [self.release, self.questions_sha256, self.values]
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    release: Annotated[str, Field(min_length=1)]
    questions_sha256: Sha256


class _Table(_Head):
    scores: dict[Question, Row]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    question: Question
    scores: Row


def read_scores(path: Path) -> Scores:
    """Read a table from JSON, or from JSONL if the name ends so.

    JSON: `{"release": ID, "questions_sha256": HEX, "scores": {QUESTION: {METRIC: number or null}}}`. JSONL: the first
    line is that object without `scores`, each further one is `{"question": ..., "scores": {...}}`. Raises
    InvalidRequest, naming file and line, if it cannot be read, is something else, or has a question twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: it cannot be read ({error}).") from error
    if path.suffix != ".jsonl":
        table = _parsed(_Table, text, str(path))
        return Scores(table.release, table.questions_sha256, table.scores)
    lines = [(f"{path}, line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InvalidRequest(f"{path}: it is empty.")
    (where, first), *rest = lines
    head = _parsed(_Head, first, where)
    values: dict[str, Row] = {}
    for where, line in rest:
        row = _parsed(_Line, line, where)
        if row.question in values:
            raise InvalidRequest(f"{where}: the question {row.question!r} is there twice.")
        values[row.question] = row.scores
    return Scores(head.release, head.questions_sha256, values)


def _parsed(kind: type[Form], text: str, where: str) -> Form:
    try:
        return kind.model_validate(json.loads(text, object_pairs_hook=_no_name_twice))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        member = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise InvalidRequest(f"{where}: {member}: {first['msg']}.") from error
    except ValueError as error:
        raise InvalidRequest(f"{where}: it is not usable JSON ({error}).") from error


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return body
