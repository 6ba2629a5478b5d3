"""How a training goes: what both sections of params.yaml have in common."""

from __future__ import annotations

from pydantic import Field

from models.section import Section


class Schedule(Section):
    """How long and how fast. A step is one move of the optimiser, over `batch_size` examples on all processes."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batch_size: int = Field(ge=1, description="examples of one forward pass on one process")
    learning_rate: float = Field(gt=0)
    warmup_share: float = Field(ge=0, lt=1, description="of all steps; then a cosine to 0")
    weight_decay: float = Field(ge=0)
    max_steps: int | None = Field(ge=1, description="end here, whatever `epochs` says; null: no limit")
    evaluate_every: int = Field(ge=1, description="steps between two looks at the validation loss, and two checkpoints")
    patience: int = Field(ge=1, description="looks without improvement before the training ends")
    seed: int = Field(ge=0)
