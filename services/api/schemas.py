"""What the api service says in its own words. The OpenAI dialect is in `openai_schemas.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.api.cite import Citation
from services.api.generate import Decoding, Finish
from services.api.retrieve import Retrieved
from services.core.aliases import CHAMPION
from services.core.schemas import BoxOut, CollectionName, Id, ReleaseName
from services.core.types import Passage, PassageFilter

MAX_QUERY_CHARS = 8_000
MAX_TOKENS = 1_024
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]
PageNumber = Annotated[int, Field(ge=1, lt=2**31)]
SectionTitle = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
StopStrings = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=4)]


class Strict(BaseModel):
    """Refuses members it does not know: a misspelt parameter is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid")


class PagesIn(Strict):
    """A range of pages, both ends included; an end that is left out is open."""

    first: PageNumber | None = Field(None, alias="from")
    last: PageNumber | None = Field(None, alias="to")

    @model_validator(mode="after")
    def ends_are_in_order(self) -> PagesIn:
        if self.first is None and self.last is None:
            raise ValueError("give `from`, `to` or both")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError("`from` must not be larger than `to`")
        return self


class FilterIn(Strict):
    """Only passages of these documents (ids), on these pages, and in a section with one of these titles.

    An answer reads a sentence of theirs to its end, even if that stands on a page or in a section beyond.
    """

    documents: Annotated[list[Id], Field(min_length=1, max_length=100)] | None = None
    pages: PagesIn | None = None
    sections: Annotated[list[SectionTitle], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def asks_for_something(self) -> FilterIn:
        if self.documents is None and self.pages is None and self.sections is None:
            raise ValueError("give `documents`, `pages`, `sections` or several of them")
        return self

    def wanted(self) -> PassageFilter:
        first, last = (self.pages.first, self.pages.last) if self.pages else (None, None)
        return PassageFilter(tuple(self.documents or ()), first, last, tuple(self.sections or ()))


class SearchIn(Strict):
    query: Query
    k: Annotated[int, Field(ge=1, le=100)] = 10
    collection: CollectionName = "default"
    filter: FilterIn | None = None
    release: ReleaseName = CHAMPION


class PassageOut(BaseModel):
    document_id: str
    document_name: str
    page: int
    chunk_id: int
    section: list[str]
    text: str
    char_start: int
    char_end: int
    score: float  # cosine similarity to the question, whatever ranked the passage
    ranks: dict[str, int] = {}  # from 1, in each stage that found it: dense, lexical, rerank
    sufficiency: float | None = None  # the probability that it answers the question, if it was read for that
    boxes: list[BoxOut]

    @classmethod
    def of(cls, passage: Passage, ranks: dict[str, int], sufficiency: float | None) -> PassageOut:
        return cls(
            document_id=passage.document_id,
            document_name=passage.document_name,
            page=passage.page,
            chunk_id=passage.chunk_id,
            section=list(passage.section),
            text=passage.text,
            char_start=passage.char_start,
            char_end=passage.char_end,
            score=round(passage.score, 6),
            ranks=ranks,
            sufficiency=None if sufficiency is None else round(sufficiency, 6),
            boxes=[BoxOut(**box._asdict()) for box in passage.boxes],
        )


class SearchOut(BaseModel):
    results: list[PassageOut]
    index_seq: int

    @classmethod
    def of(cls, found: Retrieved) -> SearchOut:
        results = [
            PassageOut.of(passage, found.ranks[passage.chunk_id], found.sufficiency.get(passage.chunk_id))
            for passage in found.passages
        ]
        return cls(results=results, index_seq=found.seq)


class DecodingIn(Strict):
    """Greedy unless `temperature` > 0; `num_beams` > 1 searches and excludes sampling."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = 160
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_k: Annotated[int, Field(ge=0, le=1_000)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    num_beams: Annotated[int, Field(ge=1, le=8)] = 1
    stop: StopStrings = []
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None

    @model_validator(mode="after")
    def beams_do_not_sample(self) -> DecodingIn:
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError("num_beams > 1 searches; it cannot be combined with temperature > 0")
        return self

    def decoding(self) -> Decoding:
        fields = DecodingIn.model_fields
        return Decoding(**{**{name: getattr(self, name) for name in fields}, "stop": tuple(self.stop)})


class AnswerIn(DecodingIn):
    question: Query
    collection: CollectionName = "default"
    k: Annotated[int | None, Field(ge=1, le=10, description="passages to read; as the release says if left out")] = None
    filter: FilterIn | None = None
    release: ReleaseName = CHAMPION
    capture: Annotated[bool, Field(description="false: not a user's question; it does not count for drift")] = True


class CitationOut(BaseModel):
    """`quote` is `text[char_start:char_end]` of the stored page; `verified` says that this was checked.

    A sentence that crosses a page is quoted by two, in the order of the pages.
    """

    document_id: str
    document_name: str
    page: int
    quote: str
    char_start: int
    char_end: int
    boxes: list[BoxOut]
    verified: bool

    @classmethod
    def of(cls, citation: Citation) -> CitationOut:
        return cls(
            document_id=citation.document_id,
            document_name=citation.document_name,
            page=citation.page,
            quote=citation.quote,
            char_start=citation.char_start,
            char_end=citation.char_end,
            boxes=[BoxOut(**box._asdict()) for box in citation.boxes],
            verified=citation.verified,
        )


class Lineage(BaseModel):
    """What the answer came from: enough to name every part that took part.

    `classifier` is the sufficiency classifier beside it; `data_sha256` is the hash of what the release was trained on.
    What came later has a default, so that answers logged before can be read.
    """

    id: str
    index_seq: int
    encoder: str
    generator: str
    adapter: str | None
    classifier: str | None = None
    prompt: str
    release: str | None = None
    data_sha256: str | None = None
    thresholds: dict[str, float] | None = None
    answers: Literal["generated", "extractive"] | None = None  # the setting: with or without the generator
    decoding: dict[str, Any]
    retrieval: dict[str, Any] | None = None  # stages with their weights, and how their rankings were joined
    git_commit: str


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, finish: Finish) -> Usage:
        prompt, completion = finish.prompt_tokens, finish.completion_tokens
        return cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


Mode = Literal["generated", "extractive", "abstained"]


class AnswerOut(BaseModel):
    """`mode` tells who speaks: the generator, every claim of it supported, and after it the document; the document
    alone, whose best sentences stand in for a draft that was not supported; or nobody, because the documents do not
    hold an answer. Then `nearest` are the passages that came nearest, which is not to say that they answer.
    `answerability` is what that was decided by, in [0, 1].

    What came later has a default, so that answers logged before can be read.
    """

    id: str
    answer: str
    mode: Mode = "generated"
    abstained: bool
    answerability: float | None = None
    citations: list[CitationOut]
    nearest: list[PassageOut] = []
    finish_reason: Literal["stop", "length"]
    lineage: Lineage
    usage: Usage
    timings_ms: dict[str, float]


class LoggedAnswer(AnswerOut):
    """An answer read back from the log."""

    question: str
    collection: str
    passages: list[int]
    replay_of: str | None = None  # the answer that was asked for again
    evaluation: bool = False  # whether an evaluation asked, and not a user
