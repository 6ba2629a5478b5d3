"""The section `encoder:` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from models.schedule import Schedule
from models.section import Section


class EncoderLora(Section):
    """Low-rank adaptation (Hu et al. 2021) of all layers: each target W gets + (alpha / rank) B A."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    targets: tuple[str, ...] = Field(min_length=1, description="names that linear layers of the base end with")


class EncoderParams(Section):
    lora: EncoderLora
    scale: float = Field(gt=0, description="cosines are multiplied by it before the softmax; 1 / temperature")
    training: Schedule
