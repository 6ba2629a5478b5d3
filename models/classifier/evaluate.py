"""How good is the classifier, beside bags of words and the order of retrieval? Intervals by resampling questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import bootstrap
from models.classifier import baselines, metrics
from models.classifier.calibrate import with_temperature
from models.classifier.data import Example, counts
from models.classifier.metrics import Probabilities, Truth
from models.progress import Steps
from services.core.classifier import Classifier, OverlapClassifier

DRAWS = 1_000
FAILURES_SHOWN = 5
FAILURE_CHARS = 400
Metric = Callable[[Truth, Probabilities], float]
METRICS: dict[str, Metric] = {
    "accuracy": metrics.accuracy,
    "macro_f1": metrics.macro_f1,
    "roc_auc": metrics.roc_auc,
    "average_precision": metrics.average_precision,
    "calibration_error": metrics.calibration_error,
}
RANKING = ("roc_auc", "average_precision")  # of scores that are no probabilities
NOT_FOUND = -1.0  # the score of a passage that retrieval did not find; a cosine is above


@dataclass(frozen=True)
class Split:
    examples: list[Example]
    truth: Truth

    @property
    def groups(self) -> list[str]:
        return [example.group for example in self.examples]


@dataclass(frozen=True)
class Splits:
    """Baselines learn from `train`, choose by `validation`, and all are judged on `test`."""

    train: Split
    validation: Split
    test: Split


def probabilities_of(classifier: Classifier, examples: Sequence[Example]) -> Probabilities:
    """Of shape (rows, labels), as they are served."""
    found = classifier.classify([example.input for example in examples])
    return np.array([[result.scores[label] for label in classifier.labels] for result in found])


def figures_of(truth: Truth, raw: Probabilities, temperature: float, examples: Sequence[Example]) -> dict[str, Any]:
    """Plain figures, without intervals. `raw` are probabilities at temperature 1."""
    scaled = with_temperature(raw, temperature)
    figures: dict[str, Any] = {name: metric(truth, scaled) for name, metric in METRICS.items()}
    figures["negative_log_likelihood"] = metrics.negative_log_likelihood(truth, scaled)
    figures["negative_log_likelihood_unscaled"] = metrics.negative_log_likelihood(truth, raw)
    figures["calibration_error_unscaled"] = metrics.calibration_error(truth, raw)
    if raw.shape[1] == 2 and (first := metrics.gold_first(truth, scaled[:, 1], [each.group for each in examples])):
        figures["gold_first"] = float(np.mean(list(first.values())))
    return {name: round(value, 6) for name, value in figures.items()} | {"rows": counts(examples)}


def evaluate(
    classifier: Classifier, temperature: float, splits: Splits, thresholds: Mapping[str, float], steps: Steps
) -> dict[str, Any]:
    """The report as plain values for JSON. `temperature` is the classifier's own, so that it can be taken out."""
    test, name = splits.test, classifier.name
    paired = all(example.text_pair is not None for example in test.examples)
    with steps.step(f"{name}: classify {len(test.examples)} test rows"):
        started = time.monotonic()
        ours = probabilities_of(classifier, test.examples)
        seconds = time.monotonic() - started
    with steps.step(f"{name}: fit the baselines"):
        systems = {"classifier": ours, **_baselines(splits, classifier.labels, paired)}
    with steps.step(f"{name}: resample"):
        report = {
            "labels": list(classifier.labels),
            "rows": {part: counts(getattr(splits, part).examples) for part in ("train", "validation", "test")},
            **_compared(test, systems),
            "calibration": _calibration(test, ours, temperature),
            "slices": {"document": _by_document(test, ours)},
        }
        if len(classifier.labels) == 2:
            scores = {system: table[:, 1] for system, table in systems.items()}
            if any(example.retrieval_rank is not None for example in test.examples):
                scores["retrieval"] = retrieval_scores(test.examples)
            if ranking := _ranking(test, scores):
                report["ranking"] = ranking
            report["gate"] = {
                label: _gate(test, ours[:, classifier.labels.index(label)], threshold)
                for label, threshold in thresholds.items()
                if label in classifier.labels
            }
            report["roc"] = {system: _thinned(metrics.roc_points(test.truth, own)) for system, own in scores.items()}
    report["failures"] = _failures(test, ours, classifier.labels)
    report["milliseconds_per_row"] = round(1000 * seconds / len(test.examples), 2)
    return report


def retrieval_scores(examples: Sequence[Example]) -> NDArray[np.float64]:
    """The similarity by which retrieval ordered the passages."""
    return np.array([NOT_FOUND if each.retrieval_score is None else each.retrieval_score for each in examples])


def _baselines(splits: Splits, labels: Sequence[str], paired: bool) -> dict[str, Probabilities]:
    train, validation, test = splits.train, splits.validation, splits.test
    fitted = {
        "majority": baselines.majority(train.examples, train.truth, len(labels)),
        "tfidf": baselines.tfidf(train.examples, train.truth, validation.examples, validation.truth),
    }
    if paired:
        fitted["passage_only"] = baselines.passage_only(
            train.examples, train.truth, validation.examples, validation.truth
        )
    found = {name: baseline(test.examples) for name, baseline in fitted.items()}
    overlap = OverlapClassifier()
    if tuple(labels) == overlap.labels:
        found["overlap"] = probabilities_of(overlap, test.examples)
    return found


def _compared(test: Split, systems: Mapping[str, Probabilities]) -> dict[str, Any]:
    """Every figure of every system, and what the classifier is better by, on the same draws of questions."""
    own = {
        system: {name: _interval(test, METRICS[name], table) for name in METRICS} for system, table in systems.items()
    }
    better = {
        system: {name: _gain(test, METRICS[name], systems["classifier"], table) for name in METRICS}
        for system, table in systems.items()
        if system != "classifier"
    }
    return {"systems": own, "classifier_is_better_by": better}


def _interval(test: Split, metric: Metric, table: Probabilities) -> dict[str, float]:
    return bootstrap.resampled(lambda rows: metric(test.truth[rows], table[rows]), test.groups, draws=DRAWS).facts()


def _gain(test: Split, metric: Metric, ours: Probabilities, theirs: Probabilities) -> dict[str, float]:
    def gain(rows: NDArray[np.intp]) -> float:
        return metric(test.truth[rows], ours[rows]) - metric(test.truth[rows], theirs[rows])

    return bootstrap.resampled(gain, test.groups, draws=DRAWS).facts()


def _ranking(test: Split, scores: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Is a passage that answers put first among those of its question? And how far are scores comparable between
    questions (`roc_auc`, `average_precision`)? A system without ties only: `majority` is left out."""
    firsts = {
        system: metrics.gold_first(test.truth, own, test.groups)
        for system, own in scores.items()
        if system != "majority"
    }
    ours = list(firsts["classifier"].values())
    if not ours:
        return {}  # no question has both
    out: dict[str, Any] = {"questions": len(ours), "gold_first": {}, "classifier_is_better_by": {}}
    for system, first in firsts.items():
        out["gold_first"][system] = bootstrap.mean(list(first.values()), draws=DRAWS).facts()
        if system != "classifier":
            out["classifier_is_better_by"][system] = bootstrap.difference(
                ours, list(first.values()), draws=DRAWS
            ).facts()
    if "retrieval" in scores:
        table = np.stack([-scores["retrieval"], scores["retrieval"]], axis=1)
        out["retrieval"] = {metric: _interval(test, METRICS[metric], table) for metric in RANKING}
    return out


def _calibration(test: Split, scaled: Probabilities, temperature: float) -> dict[str, Any]:
    out: dict[str, Any] = {"temperature": round(temperature, 4)}
    for name, table in (("before", with_temperature(scaled, 1 / temperature)), ("after", scaled)):
        out[name] = {
            "calibration_error": _interval(test, metrics.calibration_error, table),
            "bins": [
                {"low": each.low, "high": each.high, "rows": each.rows}
                | {"confidence": round(each.confidence, 4), "accuracy": round(each.accuracy, 4)}
                for each in metrics.reliability(test.truth, table)
                if each.rows
            ],
        }
    return out


def _gate(test: Split, scores: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """What the threshold lets through: pairs, and questions by their best passage.

    A question is answerable if one of its passages is positive.
    """
    called, positive = scores >= threshold, test.truth == 1
    best: dict[str, tuple[bool, bool]] = {}
    for group, answers, passes in zip(test.groups, positive, called, strict=True):
        before = best.get(group, (False, False))
        best[group] = (before[0] or bool(answers), before[1] or bool(passes))
    kept = [float(passes) for answerable, passes in best.values() if answerable]
    refused = [float(not passes) for answerable, passes in best.values() if not answerable]
    out: dict[str, Any] = {
        "threshold": round(threshold, 4),
        "precision": round(float(positive[called].mean()), 4) if called.any() else None,
        "recall": round(float(called[positive].mean()), 4) if positive.any() else None,
    }
    for name, values in (("answerable_questions_kept", kept), ("unanswerable_questions_refused", refused)):
        if values:
            out[name] = bootstrap.mean(values, draws=DRAWS).facts() | {"questions": len(values)}
    return out


def _by_document(test: Split, table: Probabilities) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for document in sorted({example.document for example in test.examples if example.document}):
        rows = [at for at, example in enumerate(test.examples) if example.document == document]
        part = Split([test.examples[at] for at in rows], test.truth[rows])
        figures = {name: _interval(part, METRICS[name], table[rows]) for name in ("accuracy", "roc_auc")}
        out[document] = {"rows": len(rows), **figures}
    return out


def _failures(test: Split, table: Probabilities, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The most confident mistakes of each label, worst first."""
    predicted = table.argmax(axis=1)
    out = []
    for label in range(len(labels)):
        wrong = [at for at in np.argsort(-table[:, label], kind="stable") if predicted[at] == label != test.truth[at]]
        for at in wrong[:FAILURES_SHOWN]:
            example = test.examples[at]
            out.append(
                {
                    "text": example.text,
                    "text_pair": (example.text_pair or "")[:FAILURE_CHARS] or None,
                    "label": example.label,
                    "predicted": labels[label],
                    "score": round(float(table[at, label]), 4),
                    "document": example.document,
                }
            )
    return out


def _thinned(points: Sequence[tuple[float, float]], most: int = 200) -> list[list[float]]:
    step = max(1, len(points) // most)
    return [[round(x, 4), round(y, 4)] for x, y in [*points[:-1:step], points[-1]]]
