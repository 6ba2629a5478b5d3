"""When is it better not to answer? By how sure the classifier is of the best passage and of the best sentence.

Questions are judged as serving judges them: the passages that the classifier likes best are read, and their sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from models import bootstrap
from models.classifier import metrics
from models.classifier.data import Example
from services.core.classifier import Classifier
from services.core.evidence import SUFFICIENT, answerability, evidence_of_all

READ = 3  # passages whose sentences are looked at, as in serving
CURVE_POINTS = 60


class Passage(NamedTuple):
    section: tuple[str, ...]
    text: str


class Question(NamedTuple):
    """`sure` is its answerability in [0, 1], `answerable` whether one of its passages answers."""

    group: str
    answerable: bool
    sure: float


def questions_of(judge: Classifier, examples: Sequence[Example], positive: str = SUFFICIENT) -> list[Question]:
    """Each group of pairs as one question; pairs without a second text are left out."""
    rows = [example for example in examples if example.text_pair is not None]
    scores = [result.scores[positive] for result in judge.classify([row.input for row in rows])]
    groups: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        groups.setdefault(row.group, []).append(at)
    best = [sorted(own, key=lambda at: -scores[at])[:READ] for own in groups.values()]
    asked = [(rows[own[0]].text, [Passage(rows[at].section, rows[at].text_pair or "") for at in own]) for own in best]
    return [
        Question(
            group,
            any(rows[at].label == positive for at in own),
            answerability([scores[at] for at in read], evidence),
        )
        for (group, own), read, evidence in zip(groups.items(), best, evidence_of_all(asked, judge), strict=True)
    ]


def threshold(questions: Sequence[Question], max_refused: float) -> float:
    """The largest one that refuses at most the share `max_refused` of the answerable questions; 0 without any."""
    sure = sorted(question.sure for question in questions if question.answerable)
    return sure[min(int(max_refused * len(sure)), len(sure) - 1)] if sure else 0.0


def report(questions: Sequence[Question], threshold: float) -> dict[str, Any]:
    """How well it separates, what the threshold does, and what any other would do.

    A point of the curve has `coverage`, the share of all questions that are answered, and `risk`, the share of those
    that cannot be.
    """
    groups = [question.group for question in questions]
    truth = np.array([int(question.answerable) for question in questions])
    sure = np.array([question.sure for question in questions])
    table = np.stack([1 - sure, sure], axis=1)
    found: dict[str, Any] = {"threshold": round(threshold, 4), "questions": len(questions)}
    if 0 < truth.sum() < len(truth):
        area = bootstrap.resampled(lambda rows: metrics.roc_auc(truth[rows], table[rows]), groups, draws=1_000)
        found["roc_auc"] = area.facts()
        found["answerable_answered"] = bootstrap.mean((sure[truth == 1] >= threshold).astype(float)).facts()
        found["unanswerable_refused"] = bootstrap.mean((sure[truth == 0] < threshold).astype(float)).facts()
    order = np.argsort(-sure, kind="stable")
    risk = np.cumsum(1 - truth[order]) / np.arange(1, len(order) + 1)
    step = max(1, len(order) // CURVE_POINTS)
    found["curve"] = [
        {"coverage": round((at + 1) / len(order), 4), "risk": round(float(risk[at]), 4)}
        for at in [*range(0, len(order) - 1, step), len(order) - 1]
    ]
    return found


def curve_of(found: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Coverage and risk, to be drawn."""
    return [point["coverage"] for point in found["curve"]], [point["risk"] for point in found["curve"]]
