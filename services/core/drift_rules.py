"""The section `drift` of params.yaml: what counts as drift.

In a file and not in settings, because a rate of false alarms belongs to all of these values together:
`benchmarks/drift.py` measures it for the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from services.core.captures import FIGURES
from services.core.rules import Rules, read_rules


def _known(name: str) -> str:
    if name not in FIGURES:
        raise ValueError(f"no figure is called {name}; there are: {', '.join(FIGURES)}")
    return name


class DriftRules(Rules):
    """`level` is the chance, at most, that a window like the reference counts as drifted. The test of the questions
    has half of it, and the tests of `figures` share the other half (Bonferroni)."""

    reference_rows: int = Field(
        ge=20, description="the first captures of a release, which the others are compared with"
    )
    window_rows: int = Field(ge=10, description="captures that are compared at a time")
    min_rows: int = Field(ge=2, description="of a window that is judged before it is full: fewer say nothing")
    level: float = Field(gt=0, le=0.5)
    permutations: int = Field(ge=19)
    seed: int = Field(ge=0)
    in_a_row: int = Field(ge=1, description="windows that must have drifted, one after the other, for an alarm")
    figures: Annotated[list[Annotated[str, AfterValidator(_known)]], Field(min_length=1)]

    @model_validator(mode="after")
    def level_can_be_reached(self) -> DriftRules:
        if (self.permutations + 1) * self.questions_level < 1:
            raise ValueError(f"{self.permutations} permutations are too few to ever fall below half of the level")
        return self

    @property
    def questions_level(self) -> float:
        return self.level / 2

    @property
    def figure_level(self) -> float:
        """Of each figure."""
        return self.level / 2 / len(self.figures)


def read_drift_rules(params: Path) -> DriftRules:
    """Raises SettingsProblem, naming the member, if there is no usable section."""
    return read_rules(params, "drift", DriftRules)
