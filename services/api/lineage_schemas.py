"""What `/v1/lineage` says: what something came from, and how it comes out now."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from services.api.schemas import CitationOut
from services.core.lineage import Kind


class PassageRead(BaseModel):
    """A passage that was read. All but `chunk_id` is None once its document has been deleted."""

    chunk_id: int
    document_id: str | None = None
    document_name: str | None = None
    page: int | None = None
    char_start: int | None = None
    char_end: int | None = None
    text: str | None = None


class PromptRead(BaseModel):
    """`words` is None for answers logged before they were kept."""

    id: str
    words: dict[str, Any] | None


class ShadowOut(BaseModel):
    """What the challenger of then said to the same question, out of sight. `answer` has its own lineage."""

    release: str | None
    created_at: str
    answer: dict[str, Any]


class LineageOut(BaseModel):
    """What an answer or a classification came from. What has no part in it is None.

    `models` are ids by role: name and the first 12 hex digits of the SHA-256 of its table of files. `request` is what
    was asked, `outcome` what was said. The texts of a classification are None if they were too long to be kept.
    """

    id: str
    kind: Kind
    created_at: str
    release: str | None
    models: dict[str, str | None]
    index_seq: int | None
    passages: list[PassageRead]
    prompt: PromptRead | None
    thresholds: dict[str, float] | None
    decoding: dict[str, Any] | None
    retrieval: dict[str, Any] | None
    answers: Literal["generated", "extractive"] | None
    temperature: float | None
    data_sha256: str | None
    git_commit: str
    request: dict[str, Any]
    outcome: dict[str, Any]
    replay_of: str | None
    shadow: ShadowOut | None


class Change(BaseModel):
    before: Any
    now: Any


class Piece(BaseModel):
    """Words of an answer: in both, only in the first, or only in the replay."""

    op: Literal["same", "gone", "new"]
    text: str


class CitationsMoved(BaseModel):
    same: int
    gone: list[CitationOut]
    new: list[CitationOut]


class PassagesMoved(BaseModel):
    """Chunk ids."""

    same: list[int]
    gone: list[int]
    new: list[int]


class AnswerReplay(BaseModel):
    """`same` speaks of text, mode and citations; `lineage` has the parts that are others now, by their names.

    `replay` is the lineage id of the new answer. `sampled` tells that tokens were drawn without a seed: then the text
    may differ though nothing else does.
    """

    kind: Literal["answer"] = "answer"
    id: str
    replay: str
    same: bool
    sampled: bool
    lineage: dict[str, Change]
    mode: Change | None
    text: list[Piece]
    citations: CitationsMoved
    passages: PassagesMoved


class ResultChange(BaseModel):
    """The result of the input `index`, from 0."""

    index: int
    label: Change | None
    scores: dict[str, Change]


class ClassificationReplay(BaseModel):
    """`results` are those that differ in any of their probabilities, to six decimals."""

    kind: Literal["classification"] = "classification"
    id: str
    replay: str
    same: bool
    lineage: dict[str, Change]
    results: list[ResultChange]
