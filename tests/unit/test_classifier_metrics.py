"""Our figures against scikit-learn's, on random scores with and without ties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as reference

from models.classifier import metrics
from models.classifier.calibrate import best_threshold, fit_temperature, read_thresholds, with_temperature
from models.errors import BadInput

rng = np.random.default_rng(5)


def table(rows: int, labels: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and probabilities rounded so that some are tied."""
    logits = rng.normal(size=(rows, labels)).round(digits)
    truth = rng.integers(0, labels, rows)
    logits[np.arange(rows), truth] += 0.5
    return truth, scipy_softmax(logits, axis=1)


@pytest.mark.parametrize("digits", [0, 1, 9])
@pytest.mark.parametrize("labels", [2, 5])
def test_figures_are_those_of_scikit_learn(labels: int, digits: int) -> None:
    truth, probabilities = table(400, labels, digits)
    predicted = probabilities.argmax(1)
    assert metrics.accuracy(truth, probabilities) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert metrics.macro_f1(truth, probabilities) == pytest.approx(
        reference.f1_score(truth, predicted, average="macro")
    )
    assert metrics.negative_log_likelihood(truth, probabilities) == pytest.approx(
        reference.log_loss(truth, probabilities)
    )
    scores = probabilities[:, 1] if labels == 2 else probabilities
    assert metrics.roc_auc(truth, probabilities) == pytest.approx(
        reference.roc_auc_score(truth, scores, multi_class="ovr")
    )
    if labels == 2:
        precision = reference.average_precision_score(truth, scores)
        assert metrics.average_precision(truth, probabilities) == pytest.approx(precision)
        x, y, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
        assert np.array(metrics.roc_points(truth, probabilities[:, 1])) == pytest.approx(np.stack([x, y], 1))


def test_area_without_both_labels_is_not_a_number() -> None:
    assert np.isnan(metrics.roc_auc(np.zeros(3, int), np.full((3, 2), 0.5)))
    assert np.isnan(metrics.average_precision(np.zeros(3, int), np.full((3, 2), 0.5)))


def test_calibration_error_by_hand() -> None:
    """Three rows at 0.9 of which two are right, one at 0.6 that is right: (3 |0.9 - 2/3| + |0.6 - 1|) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
    truth = np.array([0, 1, 1, 1])
    assert metrics.calibration_error(truth, probabilities) == pytest.approx((3 * (0.9 - 2 / 3) + 0.4) / 4)
    bins = [each for each in metrics.reliability(truth, probabilities) if each.rows]
    assert [(each.rows, each.accuracy) for each in bins] == [(1, 1.0), (3, pytest.approx(2 / 3))]
    assert all(each.low < each.confidence <= each.high for each in bins)


def test_a_sure_and_right_classifier_has_no_error() -> None:
    assert metrics.calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])) == 0


def test_gold_first_counts_questions_with_both_labels_and_shares_ties() -> None:
    truth = np.array([1, 0, 0, 1, 0, 0, 0, 1])
    scores = np.array([0.9, 0.2, 0.1, 0.5, 0.5, 0.8, 0.1, 0.3])
    groups = ["won", "won", "won", "tied", "tied", "no positive", "no positive", "no negative"]
    assert metrics.gold_first(truth, scores, groups) == {"won": 1.0, "tied": 0.5}
    assert metrics.gold_first(truth, -scores, groups) == {"won": 0.0, "tied": 0.5}


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits = rng.normal(scale=2, size=(20_000, 3))
    probabilities = scipy_softmax(logits / temperature, axis=1)
    truth = np.array([rng.choice(3, p=row) for row in probabilities])
    raw = scipy_softmax(logits, axis=1)
    found = fit_temperature(truth, raw)
    assert found == pytest.approx(temperature, rel=0.05)
    scaled = with_temperature(raw, found)
    assert (scaled.argmax(1) == raw.argmax(1)).all()
    assert metrics.calibration_error(truth, scaled) < 0.02
    assert with_temperature(scaled, 1 / found) == pytest.approx(raw, abs=1e-6)


def test_rows_that_are_all_right_stay_finite() -> None:
    raw = scipy_softmax(np.array([[4.0, 0.0], [0.0, 4.0]]), axis=1)
    scaled = with_temperature(raw, fit_temperature(np.array([0, 1]), raw))
    assert np.isfinite(scaled).all() and metrics.accuracy(np.array([0, 1]), scaled) == 1


@pytest.mark.parametrize(
    ("truth", "scores", "threshold"),
    [
        ([1, 1, 0, 0], [0.9, 0.8, 0.3, 0.1], 0.55),
        ([0, 1, 1, 0, 0], [0.95, 0.9, 0.6, 0.2, 0.1], 0.4),
        ([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.2], 0.35),  # a tie cannot be divided
        ([0, 0], [0.9, 0.1], 0.5),
        ([1, 1], [0.9, 0.2], 0.1),
    ],
)
def test_threshold_with_the_highest_f1(truth: list[int], scores: list[float], threshold: float) -> None:
    assert best_threshold(np.array(truth), np.array(scores)) == pytest.approx(threshold)


def test_thresholds_are_read_back_or_their_absence_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"figures\.json.*no thresholds.*dvc repro train_classifier"):
        read_thresholds(tmp_path)
    (tmp_path / "figures.json").write_text(json.dumps({"thresholds": {"sufficient": 0.25}}))
    assert read_thresholds(tmp_path) == {"sufficient": 0.25}
