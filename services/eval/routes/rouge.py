"""POST /v1/rouge."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.core.http import JSON_BODY_MAX_BYTES
from services.core.rouge import VARIANTS, Variant, score_pairs

router = APIRouter(prefix="/v1", max_body_size=JSON_BODY_MAX_BYTES)


class PairIn(BaseModel):
    """A prediction with one `reference` or several `references`."""

    model_config = ConfigDict(extra="forbid")

    prediction: str
    reference: str | None = None
    references: Annotated[list[str], Field(min_length=1, max_length=32)] | None = None

    @model_validator(mode="after")
    def one_kind_of_reference(self) -> PairIn:
        if (self.reference is None) == (self.references is None):
            raise ValueError("give either reference or references")
        return self

    def all_references(self) -> list[str]:
        return self.references or [self.reference or ""]


class RougeIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pairs: Annotated[list[PairIn], Field(min_length=1, max_length=1_000)]
    variants: Annotated[list[Variant], Field(min_length=1)] = list(VARIANTS)
    stemmer: bool = False


class RougeOut(BaseModel):
    pairs: list[dict[str, dict[str, float]]]
    mean: dict[str, dict[str, float]]


@router.post("/rouge")
def rouge(body: RougeIn) -> RougeOut:
    """Precision, recall and F1 of each pair, and their means."""
    pairs = [(pair.prediction, pair.all_references()) for pair in body.pairs]
    rows: list[dict[str, Any]] = [
        {name: asdict(score) for name, score in row.items()}
        for row in score_pairs(pairs, body.variants, stemmer=body.stemmer)
    ]
    mean = {
        name: {part: sum(row[name][part] for row in rows) / len(rows) for part in ("precision", "recall", "f1")}
        for name in body.variants
    }
    return RougeOut(pairs=rows, mean=mean)
