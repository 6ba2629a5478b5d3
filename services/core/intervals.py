"""Means with 95 % intervals, of many figures over the same rows at once; and shares with theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000
BLOCK_CELLS = 1 << 23  # draws times rows that are held at a time: 64 MiB


class Interval(NamedTuple):
    """The mean of `n` values with its percentile interval (Efron 1979)."""

    value: float
    low: float
    high: float
    n: int

    def facts(self) -> dict[str, float]:
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6), "n": self.n}


def intervals(
    table: Mapping[str, Sequence[float | None]], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Interval | None]:
    """The mean of each column of `table` with its interval; None for a column without a value.

    All columns have one value a row; None where a figure is not defined for a row. Rows are resampled whole, so that a
    column of differences between two others is a paired comparison. The same table gives the same intervals.
    """
    columns = np.array([[np.nan if value is None else value for value in column] for column in table.values()], float)
    if columns.size == 0:
        return dict.fromkeys(table)
    rows = columns.T
    means = resampled_means(rows, draws, seed)
    out: dict[str, Interval | None] = {}
    for at, name in enumerate(table):
        held = rows[:, at][~np.isnan(rows[:, at])]
        drawn = means[:, at][~np.isnan(means[:, at])]
        if len(held):
            low, high = np.percentile(drawn if len(drawn) else held, [2.5, 97.5])
            out[name] = Interval(float(held.mean()), float(low), float(high), len(held))
        else:
            out[name] = None
    return out


def resampled_means(
    rows: NDArray[np.float64], draws: int, seed: int, *, block_cells: int = BLOCK_CELLS
) -> NDArray[np.float64]:
    """Means (draws, columns) of `rows` (n, columns) drawn with replacement, the same rows for all columns.

    NaN has no part in a mean; the mean of nothing is NaN. `block_cells` bounds the memory, and changes nothing.
    """
    count, rng = len(rows), np.random.default_rng(seed)
    known = ~np.isnan(rows)
    filled, counted = np.where(known, rows, 0.0), known.astype(float)
    out = np.empty((draws, rows.shape[1]))
    block = max(1, block_cells // count)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        times = rng.multinomial(count, np.full(count, 1 / count), size).astype(float)
        with np.errstate(invalid="ignore"):
            out[start : start + size] = (times @ filled) / (times @ counted)
    return out


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); `of` must be above 0."""
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - half), min(1.0, middle + half)
