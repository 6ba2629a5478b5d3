"""ROUGE of predictions against references, by Google's `rouge-score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rouge_score import rouge_scorer

Variant = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
VARIANTS: tuple[Variant, ...] = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@dataclass(frozen=True, slots=True)
class Rouge:
    """Precision, recall and F1 of one variant, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def score_pairs(
    pairs: Sequence[tuple[str, Sequence[str]]], variants: Sequence[Variant] = VARIANTS, *, stemmer: bool = False
) -> list[dict[str, Rouge]]:
    """For each `(prediction, references)` the scores by variant; of several references the best F1 counts."""
    scorer = rouge_scorer.RougeScorer(list(variants), use_stemmer=stemmer)
    rows = []
    for prediction, references in pairs:
        best = scorer.score_multi(list(references), prediction)
        rows.append({name: Rouge(s.precision, s.recall, s.fmeasure) for name, s in best.items()})
    return rows
