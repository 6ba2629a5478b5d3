"""Two releases asked the same questions -> by how much they differ, and whether that is enough. Arrays only.

Questions are drawn again with replacement, both releases' values of a question together (paired bootstrap; Efron and
Tibshirani 1993, chapter 16). Where a metric does not apply to one of the two, the other's value still counts: what is
compared are the means that each would report, so that nobody gains by not being measurable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.gate_rules import GateRules
from services.core.intervals import resampled_means

Floats = NDArray[np.float64]
_ROUNDING = 1e-9  # sums of the same values in another order differ by less; that is no gain


@dataclass(frozen=True)
class Compared:
    """All of shape (comparisons, metrics) but `passed`, which has one value a comparison.

    `gain`, `low`, `high` and `gain_low` are how much better the challenger is, whatever better means: differences of
    means, or of means of logarithms for a ratio. [low, high] is the interval at 1 - level; `gain_low` is the lower
    bound that must lie above min_gain. `gained` is False where none is asked for.
    """

    gain: Floats
    low: Floats
    high: Floats
    gain_low: Floats
    held: NDArray[np.bool_]
    gained: NDArray[np.bool_]
    passed: NDArray[np.bool_]


def compare(champion: Floats, challenger: Floats, rules: GateRules) -> Compared:
    """Judge many comparisons at once, each by the same draws of questions.

    Both arrays are (comparisons, questions, metrics), metrics in the order of `rules`, NaN where one does not apply.
    Every column must have a value, and those of a ratio must be above 0.
    """
    comparisons, questions, metrics = champion.shape
    both = np.stack([_oriented(champion, rules), _oriented(challenger, rules)])
    columns = both.transpose(2, 0, 1, 3).reshape(questions, -1)
    old, new = resampled_means(columns, rules.draws, rules.seed).reshape(-1, 2, comparisons, metrics).swapaxes(0, 1)
    drawn = new - old
    old_mean, new_mean = np.nanmean(both, axis=2)
    tail = rules.level / 2
    low, high = _bound(drawn, tail), -_bound(-drawn, tail)
    gain_low = _bound(drawn, tail / len(rules.gains)) if len(rules.gains) > 1 else low
    held = low > _scaled(rules, [rule.margin for rule in rules.metrics.values()], -1) + _ROUNDING
    wanted = [np.nan if rule.min_gain is None else rule.min_gain for rule in rules.metrics.values()]
    gained = gain_low > _scaled(rules, wanted, 1) + _ROUNDING  # never above NaN
    passed = np.asarray(held.all(axis=1) & gained.any(axis=1))
    return Compared(new_mean - old_mean, low, high, gain_low, held, gained, passed)


def _oriented(values: Floats, rules: GateRules) -> Floats:
    """Larger is better, and a ratio becomes a difference."""
    out = values.copy()
    for at, rule in enumerate(rules.metrics.values()):
        if rule.compare == "ratio":
            out[..., at] = np.log(out[..., at])
        if rule.better == "lower":
            out[..., at] *= -1
    return out


def _bound(drawn: Floats, tail: float) -> Floats:
    """The draw with a share of at most `tail` below it. A draw without any value counts as a loss."""
    return np.quantile(np.where(np.isnan(drawn), -np.inf, drawn), tail, axis=0, method="lower")


def _scaled(rules: GateRules, bounds: list[float], sign: int) -> Floats:
    ratios = np.array([rule.compare == "ratio" for rule in rules.metrics.values()])
    values = np.array(bounds)
    return sign * np.where(ratios, np.log(np.where(ratios, values, 1.0)), values)
