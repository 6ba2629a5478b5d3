"""Champion's and challenger's scores on the same questions -> a verdict, with its reasons.

A challenger passes if it holds every metric (its interval lies above what the margin lets it lose) and gains one of
those that have a minimum gain. All must be held, so that testing many metrics makes no false pass likelier
(intersection-union test; Berger 1982). One gain of several is enough, so each of these is tested at its share of the
level (Bonferroni). Both at half the level: the ends of a two-sided interval, and the other half is left for what
percentile intervals of few questions are too short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from services.core.errors import InvalidRequest
from services.core.gate_rules import GateRules, MetricRule
from services.eval.compare import Compared, Floats, compare
from services.eval.scores import Scores

_KEPT_BY = (
    "Every metric must be held, so no correction is needed for their number (intersection-union). One gain is enough, "
    "so each is tested at its share of the level (Bonferroni). Both at half the level."
)
_NAMED = 3  # questions or metrics that a message names


class Side(BaseModel):
    """`scores_sha256` is the hash of the table that was judged."""

    release: str
    scores_sha256: str


class Asked(BaseModel):
    count: int
    sha256: str


class ErrorLevel(BaseModel):
    """`level` bounds the chance of a false pass; the others are those of the single one-sided tests."""

    level: float
    held: float
    gained: float
    kept_by: str


class Regression(BaseModel):
    question: str
    champion: float
    challenger: float


class MetricVerdict(BaseModel):
    """`estimate` with its interval [low, high] is challenger minus champion, or challenger through champion.

    `champion` and `challenger` are means, geometric ones for a ratio, over the questions that the metric applies to:
    `applies` counts them. `passed` says that the margin is held. `gained` is None where no gain is asked for; it is
    decided by `gain_bound`, which is the nearer end of the interval where only one metric is to be gained.
    """

    better: str
    compare: str
    champion: float
    challenger: float
    applies: dict[str, int]
    estimate: float
    low: float
    high: float
    margin: float
    passed: bool
    min_gain: float | None
    gain_bound: float | None
    gained: bool | None
    worst: list[Regression]


class Verdict(BaseModel):
    """`why` has a sentence for each thing that a challenger that does not pass is missing."""

    passed: bool
    why: list[str]
    champion: Side
    challenger: Side
    questions: Asked
    error: ErrorLevel
    rules: GateRules
    metrics: dict[str, MetricVerdict]


def judge(champion: Scores, challenger: Scores, rules: GateRules) -> Verdict:
    """Raises InvalidRequest if the tables are not about the same questions, are empty, or lack a metric."""
    questions, old, new = aligned(champion, challenger, rules)
    found = compare(old[np.newaxis], new[np.newaxis], rules)
    metrics = {
        name: _metric(rule, rules.worst, questions, old[:, at], new[:, at], found, at)
        for at, (name, rule) in enumerate(rules.metrics.items())
    }
    tail = rules.level / 2
    return Verdict(
        passed=bool(found.passed[0]),
        why=list(_why(metrics)),
        champion=Side(release=champion.release, scores_sha256=champion.sha256),
        challenger=Side(release=challenger.release, scores_sha256=challenger.sha256),
        questions=Asked(count=len(questions), sha256=champion.questions_sha256),
        error=ErrorLevel(level=rules.level, held=tail, gained=tail / len(rules.gains), kept_by=_KEPT_BY),
        rules=rules,
        metrics=metrics,
    )


def aligned(champion: Scores, challenger: Scores, rules: GateRules) -> tuple[list[str], Floats, Floats]:
    """Questions in order of their ids, and a table (questions, metrics) for each side, NaN where a metric does not
    apply. Raises InvalidRequest as `judge` does."""
    if not champion.values or not challenger.values:
        raise InvalidRequest(f"The table of {(challenger if champion.values else champion).release} has no questions.")
    if champion.questions_sha256 != challenger.questions_sha256:
        raise InvalidRequest(
            f"The releases were asked other questions: {champion.questions_sha256[:12]} and "
            f"{challenger.questions_sha256[:12]}."
        )
    for one, other in ((champion, challenger), (challenger, champion)):
        if missing := sorted(one.values.keys() - other.values.keys()):
            raise InvalidRequest(f"{other.release} was not asked {_some(missing)}, and {one.release} was.")
    questions = sorted(champion.values)
    old, new = (_table(side, questions, rules) for side in (champion, challenger))
    return questions, old, new


def _table(side: Scores, questions: Sequence[str], rules: GateRules) -> Floats:
    rows: list[list[Any]] = []
    for question in questions:
        values = side.values[question]
        if missing := [name for name in rules.metrics if name not in values]:
            raise InvalidRequest(f"{side.release}: question {question!r} has no {_some(missing)} (null would do).")
        rows.append([values[name] for name in rules.metrics])
    table = np.array(rows, float)  # None becomes NaN
    for at, (name, rule) in enumerate(rules.metrics.items()):
        column = table[:, at]
        count = int(np.isfinite(column).sum())
        if count < rules.min_questions:
            raise InvalidRequest(
                f"{side.release}: {name} applies to {count} questions, and min_questions is {rules.min_questions}."
            )
        if rule.compare == "ratio" and np.nanmin(column) <= 0:
            where = questions[int(np.nanargmin(column))]
            raise InvalidRequest(f"{side.release}: question {where!r}: {name} must be above 0 to be compared as ratio.")
    return table


def _metric(
    rule: MetricRule, worst: int, questions: Sequence[str], old: Floats, new: Floats, found: Compared, at: int
) -> MetricVerdict:
    ends = sorted(_shown(rule, float(bound[0, at])) for bound in (found.low, found.high))
    there = ~np.isnan(old), ~np.isnan(new)
    asked = rule.min_gain is not None
    return MetricVerdict(
        better=rule.better,
        compare=rule.compare,
        champion=_mean(rule, old),
        challenger=_mean(rule, new),
        applies={
            "champion": int(there[0].sum()),
            "challenger": int(there[1].sum()),
            "both": int(sum(there[0] & there[1])),
        },
        estimate=_shown(rule, float(found.gain[0, at])),
        low=ends[0],
        high=ends[1],
        margin=rule.margin,
        passed=bool(found.held[0, at]),
        min_gain=rule.min_gain,
        gain_bound=_shown(rule, float(found.gain_low[0, at])) if asked else None,
        gained=bool(found.gained[0, at]) if asked else None,
        worst=_worst(rule, worst, questions, old, new),
    )


def _worst(rule: MetricRule, count: int, questions: Sequence[str], old: Floats, new: Floats) -> list[Regression]:
    """Those that lost most, worst first, of the questions where the metric applies to both."""
    lost = (old - new) if rule.compare == "difference" else np.log(old) - np.log(new)
    lost = lost if rule.better == "higher" else -lost
    order = np.argsort(-np.nan_to_num(lost, nan=-np.inf), kind="stable")[:count]
    return [
        Regression(question=questions[at], champion=float(old[at]), challenger=float(new[at]))
        for at in order
        if lost[at] > 0
    ]


def _mean(rule: MetricRule, values: Floats) -> float:
    return float(np.exp(np.nanmean(np.log(values))) if rule.compare == "ratio" else np.nanmean(values))


def _shown(rule: MetricRule, gain: float) -> float:
    """From how much better, as the bootstrap has it, to challenger minus or through champion."""
    change = gain if rule.better == "higher" else -gain
    return float(np.exp(change)) if rule.compare == "ratio" else change


def _why(metrics: dict[str, MetricVerdict]) -> list[str]:
    lines = []
    for name, one in metrics.items():
        if not one.passed:
            figure = f"{one.estimate:.4g} [{one.low:.4g}, {one.high:.4g}]"
            lines.append(f"{name}: the {one.compare} {figure} does not keep within the margin of {one.margin:g}.")
    asked = {name: one for name, one in metrics.items() if one.gained is not None}
    if not any(one.gained for one in asked.values()):
        bounds = (f"{name} by more than {one.min_gain:g} (sure of {one.gain_bound:.4g})" for name, one in asked.items())
        lines.append(f"Nothing is gained: wanted {' or '.join(bounds)}.")
    return lines


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
