"""Prepared examples -> token batches whose loss is on the answer only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from models.errors import BadInput
from models.files import read_rows
from models.training import padded
from services.core.chat import chat_ids, spelt_ids
from services.core.prompt import Prompt

REMEDY = "Make it again with `dvc repro prepare`."
SQUAD = "squad"  # the kind of the examples from XQuAD
NO_TARGET = -100  # what cross entropy leaves out
PROMPT_STEP, ANSWER_STEP = 64, 32  # lengths are multiples of these


class PassageRow(BaseModel):
    model_config = ConfigDict(frozen=True)

    section: tuple[str, ...] = ()
    text: str = Field(min_length=1)
    page: int | None
    document: str


class ExampleRow(BaseModel):
    """One line of examples.*.jsonl. `passages` are in the order of retrieval, `gold` is the place of the one that holds
    the answer; None if none does."""

    model_config = ConfigDict(frozen=True)

    id: str
    document: str
    kind: str
    question: str = Field(min_length=1)
    answer: str
    short_answers: tuple[str, ...]
    quote: str
    passages: tuple[PassageRow, ...] = Field(min_length=1)
    gold: int | None

    def with_gold_at(self, place: int) -> ExampleRow:
        """The same passages with the gold one moved to `place`, from 0."""
        assert self.gold is not None
        others = [passage for at, passage in enumerate(self.passages) if at != self.gold]
        others.insert(place, self.passages[self.gold])
        return self.model_copy(update={"passages": tuple(others), "gold": place})


@dataclass(frozen=True)
class Tokens:
    """Token ids of a prompt, and of the answer that is to follow it, end of turn included."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def read_examples(path: Path) -> list[ExampleRow]:
    """Raises BadInput, naming the row, if the file is missing, empty or malformed, or `gold` is no passage."""
    rows = read_rows(path, ExampleRow, remedy=REMEDY)
    for number, row in enumerate(rows, 1):
        if row.gold is not None and not 0 <= row.gold < len(row.passages):
            raise BadInput(path, f"gold is {row.gold} of {len(row.passages)} passages", row=number, remedy=REMEDY)
    return rows


def answerable(rows: Sequence[ExampleRow]) -> list[ExampleRow]:
    """Those whose passages hold the answer. Abstention is not the generator's to decide: see ARCHITECTURE.md."""
    return [row for row in rows if row.gold is not None]


def at_most(rows: Sequence[ExampleRow], limit: int | None, kind: str | None = None) -> list[ExampleRow]:
    """Without all but `limit` rows (of that kind, if one is named); which ones stay depends on their ids alone."""
    chosen = [row.id for row in rows if kind in (None, row.kind)]
    kept = set(sorted(chosen, key=lambda id_: sha256(id_.encode()).digest())[:limit])
    return [row for row in rows if kind not in (None, row.kind) or row.id in kept]


def tokenise(tokenizer: Any, prompt: Prompt, row: ExampleRow, best: Sequence[str], answer: str = "") -> Tokens:
    """The very prompt that serving makes of the question, its passages and their `best` sentences; and `answer`."""
    turns = prompt.messages(row.question, [passage.text for passage in row.passages], best)
    return Tokens(chat_ids(tokenizer, turns), [*spelt_ids(tokenizer, answer), tokenizer.eos_token_id])


def collate(batch: Sequence[Any], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Tokens -> input_ids and attention_mask (batch, length), padded left so that the answers end together.

    `logits_to_keep` are the positions from the one before the first answer token on, `labels` (batch, kept) the ids
    at those positions where they are targets.
    """
    length = padded(max(len(tokens) for tokens in batch), PROMPT_STEP)
    kept = padded(max(len(tokens.answer) for tokens in batch) + 1, ANSWER_STEP)
    ids = torch.full((len(batch), length), pad_token_id)
    mask = torch.zeros_like(ids)
    labels = torch.full((len(batch), kept), NO_TARGET)
    for row, tokens in enumerate(batch):
        ids[row, length - len(tokens) :] = torch.tensor(tokens.prompt + tokens.answer)
        mask[row, length - len(tokens) :] = 1
        labels[row, kept - len(tokens.answer) :] = torch.tensor(tokens.answer)
    positions = torch.arange(length - kept, length)  # a slice would make the last product copy its weights
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "logits_to_keep": positions}


def answer_loss(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the answers' tokens, summed; the logits at one position are for the token at the next."""
    logits, targets = outputs.logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=NO_TARGET, reduction="sum")
