from __future__ import annotations

import numpy as np
import pytest

from models import bootstrap


def test_the_interval_of_a_mean_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    found = bootstrap.mean(values.tolist())
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.04)
    assert found.high == pytest.approx(values.mean() + half, abs=0.04)


def test_rows_of_one_group_are_drawn_together() -> None:
    values = [float(index // 10) for index in range(100)]  # ten groups of ten equal values
    alone, grouped = bootstrap.mean(values), bootstrap.mean(values, [index // 10 for index in range(100)])
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_a_difference_is_paired() -> None:
    base = np.random.default_rng(2).normal(0.0, 10.0, 200)
    found = bootstrap.difference((base + 1).tolist(), base.tolist())
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_nothing_to_resample() -> None:
    with pytest.raises(ValueError, match="no rows"):
        bootstrap.mean([])
