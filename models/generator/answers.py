"""Many prompts -> answers, in batches, greedily: the text that serving gives, faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from models.generator.data import ExampleRow, tokenise
from services.core.encoder import Encoder
from services.core.prompt import Prompt

BATCH_TOKENS = 6_000  # prompt tokens of one batch, padding counted


def answers(
    model: Any,
    tokenizer: Any,
    prompt: Prompt,
    rows: Sequence[ExampleRow],
    encoder: Encoder,
    max_tokens: int,
    advance: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """The answer of `model` to each row, cut before the first stop string; `advance` is told the rows just done."""
    prompts = [tokenise(tokenizer, prompt, row, encoder).prompt for row in rows]
    said = [""] * len(rows)
    model.eval()
    for batch in _batches([len(ids) for ids in prompts]):
        inputs = tokenizer.pad({"input_ids": [prompts[index] for index in batch]}, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(**inputs.to(model.device), max_new_tokens=max_tokens, do_sample=False)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(batch, texts, strict=True):
            said[index] = _cut(text.lstrip(), prompt.stops).strip()
        advance(len(batch))
    return said


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices, shortest first, in groups whose padded size is at most BATCH_TOKENS (or of one)."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[index] <= BATCH_TOKENS:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
