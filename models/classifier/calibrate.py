"""Temperature scaling and thresholds: both are chosen on validation rows, never on test rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from models.classifier.metrics import TINY, Probabilities, Truth, negative_log_likelihood
from models.errors import BadInput
from services.core.classifier import softmax

FIGURES = "figures.json"
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def with_temperature(probabilities: Probabilities, temperature: float) -> Probabilities:
    """What the probabilities would be if their logits were divided by `temperature`.

    The logits need not be known: log p differs from them by a constant of the row, which the softmax takes out.
    """
    return softmax(np.log(np.maximum(probabilities, TINY)) / temperature)


def fit_temperature(truth: Truth, probabilities: Probabilities) -> float:
    """The temperature that makes the truth likeliest (Guo et al. 2017); it changes no decision.

    The likelihood is concave in 1/T, so the one maximum is found by a search over log T. The ends of the range stand
    for rows that are all right, or no better than chance.
    """
    found = minimize_scalar(
        lambda log: negative_log_likelihood(truth, with_temperature(probabilities, float(np.exp(log)))),
        bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def best_threshold(truth: Truth, scores: Probabilities) -> float:
    """The score from which on a row is called positive, for the highest F1 of the positive label.

    Halfway between the two scores it divides, of shape (rows,); 0.5 if there is no positive row.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(truth[order] == 1)
    if not hits[-1]:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    f1[:-1][np.diff(ordered) == 0] = -1  # rows of one score are called the same
    best = int(f1.argmax())
    below = ordered[best + 1] if best + 1 < len(ordered) else 0.0
    return float((ordered[best] + below) / 2)


def read_thresholds(folder: Path) -> dict[str, float]:
    """The thresholds that stage train_classifier wrote to `folder`. Raises BadInput if it did not."""
    path = folder / FIGURES
    try:
        found = json.loads(path.read_bytes())["thresholds"]
        return {str(label): float(value) for label, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it tells no thresholds ({type(error).__name__} {error})"
        raise BadInput(path, reason, remedy="Train again with `dvc repro train_classifier`.") from error
