"""The section `data:` of params.yaml."""

from __future__ import annotations

from pydantic import Field, model_validator

from models.overlap import Thresholds
from models.section import Section


class DataParams(Section):
    """How stage `prepare` makes training examples. Documents that are neither test nor validation are for training."""

    documents: tuple[str, ...] | None = Field(description="only these; null: all that have questions")
    test: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(ge=0)
    retrieved: int = Field(ge=2, le=100, description="passages asked of /v1/search for each question")
    min_passages: int = Field(ge=2, description="passages of one generator example, at least")
    max_passages: int = Field(le=10)
    no_gold_share: float = Field(ge=0.0, lt=1.0, description="answerable training questions that get no gold passage")
    negatives: int = Field(ge=1, description="insufficient pairs of one question, at most")
    squad_questions: int | None = Field(ge=0, description="questions taken from the SQuAD file; null: all")
    squad_negatives: int = Field(ge=1)
    max_lost_share: float = Field(ge=0.0, lt=1.0, description="answerable questions without a gold passage that pass")
    overlap: Thresholds

    @model_validator(mode="after")
    def _fits(self) -> DataParams:
        if self.min_passages > self.max_passages:
            raise ValueError("min_passages is larger than max_passages")
        if self.retrieved < max(self.max_passages, self.negatives):
            raise ValueError("retrieved must be at least max_passages and at least negatives")
        if both := set(self.test) & set(self.validation):
            raise ValueError(f"{', '.join(sorted(both))} is in test and in validation")
        return self
