from __future__ import annotations

import numpy as np
import pytest

from services.core.intervals import intervals, wilson


def test_the_interval_of_a_mean_is_that_of_resampling() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 400).tolist()
    found = intervals({"x": values})["x"]
    assert found is not None and found.n == 400
    assert found.value == pytest.approx(np.mean(values))
    half = 1.96 * np.std(values) / 20  # the normal approximation
    assert found.low == pytest.approx(found.value - half, abs=0.02)
    assert found.high == pytest.approx(found.value + half, abs=0.02)
    assert intervals({"x": values})["x"] == found


def test_values_that_are_not_defined_are_left_out() -> None:
    found = intervals({"some": [1.0, None, 0.0, None], "none": [None] * 4, "all": [2.0] * 4})
    assert found["none"] is None
    assert found["some"] is not None and (found["some"].value, found["some"].n) == (0.5, 2)
    assert found["all"] is not None and found["all"].facts() == {"value": 2.0, "low": 2.0, "high": 2.0, "n": 4}
    assert intervals({"x": [], "y": []}) == {"x": None, "y": None}


def test_rows_are_drawn_whole() -> None:
    """The same rows are drawn for all columns: what two columns differ by has the interval of a constant."""
    rng = np.random.default_rng(2)
    ours = rng.random(3_000)
    found = intervals({"ours": ours.tolist(), "theirs": (ours - 0.25).tolist(), "by": [0.25] * 3_000}, draws=1_500)
    ours_, theirs = found["ours"], found["theirs"]
    assert ours_ is not None and theirs is not None
    assert (ours_.low - theirs.low, ours_.high - theirs.high) == pytest.approx((0.25, 0.25))


def test_the_interval_of_a_share_is_that_of_wilson() -> None:
    """Values of Newcombe (1998), table I."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)
