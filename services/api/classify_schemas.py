"""What `POST /v1/classify` takes and gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from services.api.schemas import Strict
from services.core.aliases import CHAMPION
from services.core.classifier import Classification, Input
from services.core.schemas import ReleaseName

MAX_INPUTS = 64
MAX_TEXT_CHARS = 10_000  # several times what any classifier reads
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT_CHARS)]


class TextPair(Strict):
    """A text, or a text beside another; for `sufficiency` a question and a passage."""

    text: Text
    text_pair: Text | None = None


def _pair_of(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


class ClassifyIn(Strict):
    """An input that is a plain string is a text alone."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    inputs: Annotated[
        list[Annotated[TextPair, BeforeValidator(_pair_of, json_schema_input_type=str | TextPair)]],
        Field(min_length=1, max_length=MAX_INPUTS),
    ]
    release: ReleaseName = CHAMPION  # of the classifiers that a release brings

    def pairs(self) -> list[Input]:
        return [(item.text, item.text_pair) for item in self.inputs]


class ClassificationOut(BaseModel):
    """`score` is the probability of `label`. `truncated` tells that only the first `tokens` tokens were read."""

    label: str
    score: float
    scores: dict[str, float]
    tokens: int
    truncated: bool

    @classmethod
    def of(cls, result: Classification) -> ClassificationOut:
        return cls(
            label=result.label,
            score=round(result.score, 6),
            scores={label: round(score, 6) for label, score in result.scores.items()},
            tokens=result.tokens,
            truncated=result.truncated,
        )


class ClassifierParts(BaseModel):
    """What the classifications of one classifier come from. `release` is None for what no release brought."""

    release: str | None
    classifier: str
    classifier_base: str | None
    data_sha256: str | None
    temperature: float | None
    git_commit: str


class ClassifierLineage(ClassifierParts):
    """`id` is that of this one request: `GET /v1/lineage/{id}`."""

    id: str


class ClassifyOut(BaseModel):
    """`results` are in the order of the inputs."""

    model: str
    results: list[ClassificationOut]
    lineage: ClassifierLineage
