"""Figures of a classifier from its probabilities. Truth is the place of the right label, int of shape (rows,);
probabilities are float64 of shape (rows, labels). Of two labels the last is the positive one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Truth = NDArray[np.int64]
Probabilities = NDArray[np.float64]
BINS = 15
TINY = 1e-300  # keeps the logarithm of an underflown probability finite


class Bin(NamedTuple):
    """Rows whose likeliest label has a probability in (`low`, `high`]; means are NaN where there are none."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def accuracy(truth: Truth, probabilities: Probabilities) -> float:
    return float((probabilities.argmax(axis=1) == truth).mean())


def macro_f1(truth: Truth, probabilities: Probabilities) -> float:
    """Mean of the F1 of each label that occurs in truth or in prediction."""
    width = probabilities.shape[1]
    table = np.bincount(truth * width + probabilities.argmax(axis=1), minlength=width * width).reshape(width, width)
    named = table.sum(axis=0) + table.sum(axis=1)
    return float((2 * np.diag(table)[named > 0] / named[named > 0]).mean())


def roc_auc(truth: Truth, probabilities: Probabilities) -> float:
    """Of two labels: how often a positive row scores higher than a negative one, ties count half (Mann-Whitney).

    Of more: the mean over the labels, each against the rest. NaN where a label has no rows, or all.
    """
    if probabilities.shape[1] == 2:
        return _auc(truth == 1, probabilities[:, 1])
    return float(np.mean([_auc(truth == label, probabilities[:, label]) for label in range(probabilities.shape[1])]))


def average_precision(truth: Truth, probabilities: Probabilities) -> float:
    """Area under precision against recall of the positive label, as a sum over thresholds; NaN without positives.

    Of more than two labels: the mean over the labels.
    """
    if probabilities.shape[1] == 2:
        return _average_precision(truth == 1, probabilities[:, 1])
    each = [_average_precision(truth == label, probabilities[:, label]) for label in range(probabilities.shape[1])]
    return float(np.mean(each))


def negative_log_likelihood(truth: Truth, probabilities: Probabilities) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], TINY)).mean())


def reliability(truth: Truth, probabilities: Probabilities, bins: int = BINS) -> list[Bin]:
    """Confidence and accuracy in `bins` equal parts of [0, 1]."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    out = []
    for index in range(bins):
        inside = place == index
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (np.nan, np.nan)
        out.append(Bin(float(edges[index]), float(edges[index + 1]), int(inside.sum()), *means))
    return out


def calibration_error(truth: Truth, probabilities: Probabilities, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015): mean of |confidence - accuracy| over the rows' bins."""
    found = [each for each in reliability(truth, probabilities, bins) if each.rows]
    return float(sum(each.rows * abs(each.confidence - each.accuracy) for each in found) / len(truth))


def gold_first(truth: Truth, scores: NDArray[np.float64], groups: Sequence[Hashable]) -> dict[Hashable, float]:
    """For each group with positive and negative rows: 1 if a positive one has the highest score, 0 if not.

    Where several rows share the highest score, the share of positive ones among them.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    out = {}
    for group, rows in members.items():
        positive, own = truth[rows] == 1, scores[rows]
        if positive.any() and not positive.all():
            out[group] = float(positive[own == own.max()].mean())
    return out


def roc_points(truth: Truth, scores: NDArray[np.float64]) -> list[tuple[float, float]]:
    """(false positive rate, true positive rate) at every threshold, from (0, 0) to (1, 1)."""
    positive = (truth == 1)[np.argsort(-scores, kind="stable")]
    ordered = np.sort(scores)[::-1]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # the last row of each distinct score
    true, false = np.cumsum(positive)[ends], np.cumsum(~positive)[ends]
    points = zip(false / max(1, false[-1]), true / max(1, true[-1]), strict=True)
    return [(0.0, 0.0), *((float(x), float(y)) for x, y in points)]


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    count = int(positive.sum())
    if count == 0 or count == len(positive):
        return float("nan")
    _, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]  # of tied scores, their mean rank, from 1
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def _average_precision(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(positive[order])[ends]
    recall = hits / hits[-1]
    return float((np.diff(recall, prepend=0.0) * hits / (ends + 1)).sum())
