"""The section `bases:` of params.yaml."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from models.section import Section

BaseRole = Literal["encoder", "encoder-tuned", "generator", "classifier-base"]
ROLES: tuple[str, ...] = get_args(BaseRole)


class Base(Section):
    """One entry of `bases:`. What `sha256` covers is told at `models.sources.Source`."""

    name: str = Field(pattern=r"^[\w.-]+$")
    source: str
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    licence: str = Field(min_length=1)
