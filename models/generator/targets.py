"""What the generator learns to say: the expected answer, where its sentences hold that; else the sentence that answers.

From answers whose words stand nowhere in its sentences it would learn to invent, and what it invents is refused when it
serves.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.generator.data import ExampleRow
from services.core.answer_metrics import contains_any, token_f1
from services.core.classifier import content_stems

MIN_HELD = 0.6  # of the content words of an answer


def target(row: ExampleRow, sentences: Sequence[str]) -> str | None:
    """None if none of `sentences` holds a short answer of `row`."""
    texts = [" ".join(sentence.split()) for sentence in sentences]
    holding = [text for text in texts if contains_any(text, row.short_answers)]
    if not holding:
        return None
    wanted = content_stems(row.answer)
    there = set().union(*(content_stems(text) for text in (row.question, *texts)))
    if len(wanted & there) >= MIN_HELD * len(wanted):
        return " ".join(row.answer.split())
    return max(holding, key=lambda text: token_f1(text, row.answer))
