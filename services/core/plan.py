"""How passages are found, and sentences chosen: settings that a release is judged with, and brings along."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.core.settings import Settings

DENSE, LEXICAL, RERANK = "dense", "lexical", "rerank"


class Plan(BaseModel):
    """A weight for each ranking that takes part, and how they are joined.

    The names are those of the settings `CAPSTONE_...` that overrule them, which also say what each means. The
    classifier reads the first `rerank_depth` passages of the other rankings' fusion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    retrieval: Literal["dense", "lexical", "hybrid"] = "hybrid"
    fusion_dense_weight: float = Field(2.0, gt=0)
    fusion_lexical_weight: float = Field(1.0, gt=0)
    fusion_rerank_weight: float = Field(1.0, gt=0)
    fusion_k0: float = Field(10.0, ge=0)
    fusion_depth: int = Field(50, ge=1, le=1_000)
    rerank_depth: int = Field(10, ge=0, le=100)
    mmr_trade_off: float | None = Field(None, ge=0, le=1)
    join_neighbours: bool = True
    answer_passages: int = Field(3, ge=1, le=10)

    @property
    def weights(self) -> dict[str, float]:
        """That of each stage which takes part."""
        weights = {DENSE: self.fusion_dense_weight, LEXICAL: self.fusion_lexical_weight}
        if self.retrieval != "hybrid":
            weights = {self.retrieval: 1.0}
        return weights | ({RERANK: self.fusion_rerank_weight} if self.rerank_depth else {})

    def overruled(self, settings: Settings) -> Plan:
        """With what `settings` say otherwise."""
        said = {name: getattr(settings, name) for name in Plan.model_fields}
        return self.model_copy(update={name: value for name, value in said.items() if value is not None})


class SentencePlan(BaseModel):
    """Which sentences make an answer.

    `sentence` and `passage` weigh the log-odds that the classifier gives to a sentence and to its passage, `retrieval`
    what its passage was worth to the search, `cosine` its similarity to the question: together the log-odds that it
    holds the answer (a logistic regression without its constant). Up to `most` sentences are said, if their odds are at
    least `share` of the best one's; those on its page have `same_page` added to their log-odds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sentence: float = Field(1.0, gt=0)
    passage: float = Field(0.0, ge=0)
    retrieval: float = Field(0.0, ge=0)
    cosine: float = Field(0.0, ge=0)
    same_page: float = Field(0.0, ge=0)
    share: float = Field(1.0, gt=0)
    most: int = Field(1, ge=1, le=10)


DEFAULT_PLAN = Plan()
DEFAULT_SENTENCES = SentencePlan()
