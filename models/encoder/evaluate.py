"""Does the tuned encoder find more? Both search manuals that were not trained on, dense alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import bootstrap
from models.classifier.data import Example
from models.encoder.data import Asked, searches_of
from models.progress import Steps
from services.core.encoder import Encoder, Vectors

Ranks = list[int]  # from 1, a question each
MUST_WIN = "mrr@10"


def report(rows: Sequence[Example], tuned: Encoder, base: Encoder, steps: Steps) -> dict[str, Any]:
    """Figures of both with intervals, and the paired difference; `rows` are pairs of held-out manuals."""
    asked, manuals = searches_of(rows)
    found = {}
    for name, encoder in {"tuned": tuned, "base": base}.items():
        with steps.step(f"encoder: {encoder.id} searches", len(manuals)) as advance:
            vectors = {}
            for manual, passages in manuals.items():
                vectors[manual] = encoder.encode(passages)
                advance(1)
            found[name] = measures(ranks(asked, encoder.encode([one.text for one in asked]), vectors))
    difference = {
        name: bootstrap.difference(found["tuned"][name], found["base"][name]).facts() for name in found["base"]
    }
    return {
        "questions": len(asked),
        "manuals": {manual: len(passages) for manual, passages in manuals.items()},
        "systems": {
            name: {metric: bootstrap.mean(values).facts() for metric, values in own.items()}
            for name, own in found.items()
        },
        "tuned_is_better_by": difference,
        "passes": difference[MUST_WIN]["low"] > 0,
    }


def ranks(asked: Sequence[Asked], questions: Vectors, vectors: Mapping[str, Vectors]) -> Ranks:
    """For each question the rank of the first right passage among all of its own manual.

    `questions` has shape (len(asked), dim), `vectors` (passages, dim) by manual, all rows of length 1.
    """
    found = []
    for one, question in zip(asked, questions, strict=True):
        scores = vectors[one.manual] @ question
        best = max(scores[index] for index in one.right)
        found.append(1 + int(np.count_nonzero(scores > best)))
    return found


def measures(found: Ranks) -> dict[str, list[float]]:
    """A value a question. MRR@10 is the mean of 1 / rank, 0 beyond the tenth place (Voorhees 1999)."""
    return {
        "hit@1": [float(rank == 1) for rank in found],
        "hit@5": [float(rank <= 5) for rank in found],
        "mrr@10": [1 / rank if rank <= 10 else 0.0 for rank in found],
    }
