"""Intervals of means by resampling whole groups, and of differences between two systems asked the same things."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000


class Interval(NamedTuple):
    """A figure with its 95 % percentile interval (Efron 1979)."""

    value: float
    low: float
    high: float

    def facts(self) -> dict[str, float]:
        return {name: round(float(number), 4) for name, number in self._asdict().items()}

    def text(self, digits: int = 3) -> str:
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def resampled(
    figure: Callable[[NDArray[np.intp]], float], groups: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Interval of `figure(indices of rows)`; rows of one group (say, of one question) are drawn together.

    `groups` has one name a row. A draw for which `figure` is not defined (NaN) is left out. Raises ValueError if
    there are no rows.
    """
    if not groups:
        raise ValueError("there are no rows to resample")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    rows = [np.array(indices) for indices in members.values()]
    rng = np.random.default_rng(seed)
    drawn = [
        figure(np.concatenate([rows[pick] for pick in rng.integers(0, len(rows), len(rows))])) for _ in range(draws)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(float(figure(np.arange(len(groups)))), float(low), float(high))


def mean(values: Sequence[float], groups: Sequence[Hashable] | None = None, **options: Any) -> Interval:
    """Interval of the mean of `values`."""
    column = np.asarray(values, float)
    return resampled(lambda rows: float(column[rows].mean()), groups or range(len(values)), **options)


def difference(
    ours: Sequence[float], theirs: Sequence[float], groups: Sequence[Hashable] | None = None, **options: Any
) -> Interval:
    """Interval of mean(ours) - mean(theirs), where `ours[i]` and `theirs[i]` answer the same question."""
    return mean([a - b for a, b in zip(ours, theirs, strict=True)], groups, **options)
