"""The section `gate` of params.yaml: what a release must hold, and what it must gain, against the one that is live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.core.rules import Rules, read_rules


class MetricRule(Rules):
    """How two releases are compared in one metric.

    `difference` compares means; `ratio` geometric means, of values above 0. `margin` is what the challenger may
    lose at most, `min_gain` what it must gain at least, if it is to count as a gain: both in the units of the metric
    for a difference, and as factors of at least 1 for a ratio (a margin of 1.25 with `better: lower`: at most 1.25
    times as much).
    """

    better: Literal["higher", "lower"]
    compare: Literal["difference", "ratio"]
    margin: float
    min_gain: float | None = None

    @model_validator(mode="after")
    def bounds_fit_the_comparison(self) -> MetricRule:
        nothing = 0.0 if self.compare == "difference" else 1.0
        if self.margin <= nothing:
            raise ValueError(f"the margin of a {self.compare} must be above {nothing:g}")
        if self.min_gain is not None and self.min_gain < nothing:
            raise ValueError(f"min_gain of a {self.compare} must not be below {nothing:g}")
        return self


class GateRules(Rules):
    """`level` is the chance, at most, that a release passes that lost a margin in some metric, or gained nothing."""

    level: float = Field(gt=0, le=0.5)
    draws: int = Field(ge=1_000, description="bootstrap resamples")
    seed: int = Field(ge=0)
    min_questions: int = Field(ge=2, description="with a value of the metric, in each table")
    worst: int = Field(ge=0, description="regressed questions that are named for each metric")
    metrics: Annotated[dict[str, MetricRule], Field(min_length=1)]

    @model_validator(mode="after")
    def something_is_to_be_gained(self) -> GateRules:
        if not self.gains:
            raise ValueError("at least one metric needs min_gain: no change must not pass")
        return self

    @property
    def gains(self) -> list[str]:
        """The metrics of which one must be gained."""
        return [name for name, rule in self.metrics.items() if rule.min_gain is not None]


def read_gate_rules(params: Path) -> GateRules:
    """The section `gate` of a params.yaml. Raises SettingsProblem, naming the member, if there is no usable one."""
    return read_rules(params, "gate", GateRules)
