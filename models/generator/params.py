"""The section `generator:` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.schedule import Schedule
from models.section import Section


class Lora(Section):
    """Low-rank adaptation (Hu et al. 2021): each target W gets + (alpha / rank) B A, and only A and B are trained."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    targets: tuple[str, ...] = Field(min_length=1)
    first_layer: int = Field(ge=0, description="layers before this one stay as they are, and need no backward pass")


class GeneratorParams(Section):
    lora: Lora
    base_precision: Literal["bfloat16", "nf4"] = Field(description="nf4: QLoRA, a 4-bit base; needs an NVIDIA GPU")
    max_tokens: int = Field(ge=64, description="prompt and answer together; a longer example is left out, and counted")
    max_squad: int | None = Field(ge=0, description="training examples from the SQuAD file, at most; null: no limit")
    max_examples: int | None = Field(ge=1, description="training examples, at most; null: no limit")
    training: Schedule
