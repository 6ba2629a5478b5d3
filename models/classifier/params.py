"""The section `classifier:` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from models.schedule import Schedule
from models.section import Section

Probability = Field(ge=0, lt=1)


class Stretches(Section):
    """A training before the training, on pairs cut to a stretch; see models/classifier/stretches.py."""

    words: int = Field(ge=4)
    draws: int = Field(ge=1, description="each time with other cuts and other negatives")
    negatives: int = Field(ge=1, description="of each question in one draw; many positives are what makes it learn")
    cloze: int = Field(ge=0, description="questions made of the passages' own words, for training only")
    training: Schedule


class Sentences(Section):
    """Rows of single sentences beside those of whole passages; see models/classifier/sentences.py."""

    same_passage: int = Field(ge=0, description="sentences beside the evidence, of one passage at most")
    other_passages: int = Field(ge=0, description="passages that do not answer, of which one sentence each is taken")


class ClassifierParams(Section):
    max_tokens: int = Field(ge=8, le=512, description="of text and pair together; what is longer is cut")
    dropout: float = Probability
    attention_dropout: float = Probability
    head_dropout: float = Probability
    validation_share: float = Field(gt=0, lt=0.5, description="of one's own rows, where no split is given")
    test_share: float = Field(gt=0, lt=0.5, description="of one's own rows, where no split is given")
    stretches: Stretches | None = Field(description="null: none; never for rows of one's own")
    sentences: Sentences | None = Field(description="null: whole passages only; never for rows of one's own")
    max_refused: float = Field(ge=0, lt=1, description="answerable validation questions that may go without an answer")
    training: Schedule
