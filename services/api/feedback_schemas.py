"""What the api service says of feedback over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from services.api.schemas import Strict
from services.core.feedback import Feedback, Said
from services.core.schemas import Who, encodable, iso

_LONG_MAX_CHARS = 4_000
Long = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONG_MAX_CHARS),
    AfterValidator(encodable),
]
Comment = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000), AfterValidator(encodable)
]


class FeedbackIn(Strict):
    """`by` is whoever says it, in their own words: nothing proves it. What the same one says later of the same answer
    takes the place of what was said before, which is kept."""

    verdict: Literal["up", "down"]
    corrected_answer: Annotated[Long | None, Field(description="what the answer should have said")] = None
    quote: Annotated[Long | None, Field(description="where the document says so, in its words")] = None
    wrong_citation: Annotated[
        int | None, Field(ge=0, le=10_000, description="place in `citations`, from 0, of one that does not hold")
    ] = None
    comment: Comment | None = None
    by: Who | None = None

    @model_validator(mode="after")
    def what_is_right_is_not_corrected(self) -> FeedbackIn:
        if self.verdict == "up" and (self.corrected_answer, self.quote, self.wrong_citation) != (None, None, None):
            raise ValueError("an answer that is right has nothing to correct: the verdict should be `down`")
        return self

    def said(self) -> Said:
        return Said(self.verdict, self.corrected_answer, self.quote, self.wrong_citation, self.comment)


class FeedbackOut(BaseModel):
    """`version` counts what the same client has said of the same answer; `superseded` if it is not the newest."""

    id: str
    answer_id: str
    by: str
    version: int
    superseded: bool
    verdict: Literal["up", "down"]
    corrected_answer: str | None
    quote: str | None
    wrong_citation: int | None
    comment: str | None
    created_at: str | None

    @classmethod
    def of(cls, given: Feedback, superseded: bool = False) -> FeedbackOut:
        said = given.said
        return cls(
            id=given.id,
            answer_id=given.answer_id,
            by=given.by,
            version=given.version,
            superseded=superseded,
            verdict=said.verdict,
            corrected_answer=said.corrected,
            quote=said.quote,
            wrong_citation=said.wrong_citation,
            comment=said.comment,
            created_at=iso(given.created_at),
        )


class FeedbackList(BaseModel):
    data: list[FeedbackOut]

    @classmethod
    def of(cls, given: list[Feedback]) -> FeedbackList:
        newest = {one.by: one.version for one in sorted(given, key=lambda one: one.version)}
        return cls(data=[FeedbackOut.of(one, one.version < newest[one.by]) for one in given])
