"""The sentences that a prompt is made of, best last: by the classifier, as serving chooses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.generator.data import ExampleRow
from services.core.answer_metrics import contains_any
from services.core.classifier import Classifier
from services.core.evidence import evidence_of_all

Hints = list[list[str]]  # for each row, best first


def hints(rows: Sequence[ExampleRow], judge: Classifier, count: int) -> Hints:
    """The `count` sentences of each row's passages that most probably answer its question, best first."""
    found = evidence_of_all([(row.question, row.passages) for row in rows], judge)
    return [[sentence.text for sentence in evidence.best(count)] for evidence in found]


def told(rows: Sequence[ExampleRow], given: Hints) -> tuple[list[ExampleRow], Hints]:
    """The rows whose sentences hold a short answer, and these. From the others a generator would learn to invent."""
    kept = [(row, own) for row, own in zip(rows, given, strict=True) if any(_right(row, hint) for hint in own)]
    return [row for row, _ in kept], [own for _, own in kept]


def told_in_each(
    asked: Mapping[str, Sequence[ExampleRow]], given: Mapping[str, Hints]
) -> dict[str, tuple[list[ExampleRow], Hints]]:
    """What is `told` of each split. If that leaves one empty, as a classifier does that is never right, the quotes that
    the questions were written from are the sentences of all of them."""
    found = {name: told(rows, given[name]) for name, rows in asked.items()}
    if all(rows for rows, _ in found.values()):
        return found
    return {name: told(rows, [[row.quote] for row in rows]) for name, rows in asked.items()}


def _right(row: ExampleRow, hint: str) -> bool:
    return bool(contains_any(hint, row.short_answers))
