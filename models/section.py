"""What all sections of params.yaml have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen, refuses members it does not know, and converts nothing: "3" is no number and 1 is no truth value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
