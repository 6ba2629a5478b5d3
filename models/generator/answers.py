"""Many prompts -> answers, in batches, greedily: the text that serving gives, faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from models.device import device
from models.generator.data import ExampleRow, tokenise
from models.generator.hints import Hints
from services.core.prompt import Prompt

Ids = tuple[int, ...]
BATCH_TOKENS = {"cpu": 6_000, "cuda": 60_000}  # prompt tokens of one batch, padding counted


def answers(
    model: Any,
    tokenizer: Any,
    prompt: Prompt,
    rows: Sequence[ExampleRow],
    given: Hints,
    max_tokens: int,
    advance: Callable[[int], None] = lambda count: None,
    known: dict[Ids, str] | None = None,
) -> list[str]:
    """The answer of `model` to each row, cut before the first stop string; `advance` is told the rows just done.

    `given` are the best sentences of each row, for its prompt. `known` are answers of this model by prompt; they are
    not asked for again, and what is new is added.
    """
    asked = [tuple(tokenise(tokenizer, prompt, row, own).prompt) for row, own in zip(rows, given, strict=True)]
    known = {} if known is None else known
    new = [ids for ids in dict.fromkeys(asked) if ids not in known]
    advance(len(asked) - len(new))
    model.eval()
    for batch in _batches([len(ids) for ids in new]):
        inputs = tokenizer.pad({"input_ids": [list(new[index]) for index in batch]}, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(**inputs.to(model.device), max_new_tokens=max_tokens, do_sample=False)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(batch, texts, strict=True):
            known[new[index]] = _cut(text.lstrip(), prompt.stops).strip()
        advance(len(batch))
    return [known[ids] for ids in asked]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices, shortest first, in groups whose padded size is at most BATCH_TOKENS (or of one)."""
    limit = BATCH_TOKENS[device()]
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[index] <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
