"""Fusion of rankings and diversification, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from services.api.fuse import diversify, fuse, most_fused


def test_each_ranking_gives_its_weight_over_the_rank() -> None:
    fused = fuse({"dense": [7, 8, 9], "lexical": [9, 7]}, {"dense": 1.0, "lexical": 0.5}, k0=60)
    assert fused == pytest.approx({7: 1 / 61 + 0.5 / 62, 9: 1 / 63 + 0.5 / 61, 8: 1 / 62})
    assert list(fused) == [7, 9, 8]


def test_one_ranking_alone_keeps_its_order() -> None:
    assert list(fuse({"dense": [5, 3, 9, 1]}, {"dense": 2.0}, k0=0)) == [5, 3, 9, 1]
    assert fuse({"dense": [], "lexical": []}, {"dense": 1.0, "lexical": 1.0}, k0=60) == {}


def test_a_weight_of_zero_leaves_the_other_ranking_first_and_in_order() -> None:
    fused = fuse({"dense": [4, 2], "lexical": [9, 4, 2]}, {"dense": 1.0, "lexical": 0.0}, k0=60)
    assert list(fused) == [4, 2, 9]


def test_a_small_k0_trusts_the_first_places_more() -> None:
    rankings, weights = {"a": [1, 2, 3, 4], "b": [4, 3, 2, 5]}, {"a": 1.0, "b": 0.6}
    assert next(iter(fuse(rankings, weights, k0=0))) == 1
    assert next(iter(fuse(rankings, weights, k0=1_000))) == 2


def test_equal_scores_go_to_the_smaller_id_whatever_the_order_of_the_rankings() -> None:
    weights = {"a": 1.0, "b": 1.0}
    assert list(fuse({"a": [9, 3], "b": [3, 9]}, weights, k0=60)) == [3, 9]
    assert list(fuse({"b": [3, 9], "a": [9, 3]}, weights, k0=60)) == [3, 9]


# Two directions: rows 0 and 1 are the same, row 2 is at a right angle to them.
ROWS = np.array([[1, 0], [1, 0], [0, 1]], np.float32)


def test_the_second_of_two_equal_passages_waits() -> None:
    assert diversify([0.9, 0.8, 0.5], ROWS, 3, trade_off=0.5) == [0, 2, 1]


def test_a_trade_off_of_one_is_the_order_of_relevance() -> None:
    assert diversify([0.5, 0.9, 0.8], ROWS, 3, trade_off=1.0) == [1, 2, 0]


def test_the_margin_is_that_of_the_nearest_chosen_one() -> None:
    rows = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)
    # After 0 and 1: row 2 has 0.5 * 0.9 - 0.5 * max(0.6, 0.8) = 0.05, row 3 has 0.5 * 0.3 - 0.5 * 0 = 0.15.
    assert diversify([1.0, 0.95, 0.9, 0.3], rows, 4, trade_off=0.5) == [0, 1, 3, 2]


def test_no_more_are_chosen_than_wanted_or_there() -> None:
    assert diversify([0.9, 0.8, 0.5], ROWS, 1, trade_off=0.5) == [0]
    assert sorted(diversify([0.9, 0.8, 0.5], ROWS, 10, trade_off=0.0)) == [0, 1, 2]
    assert diversify([], np.empty((0, 2), np.float32), 3, trade_off=0.5) == []


def test_nothing_is_worth_more_than_what_is_first_everywhere() -> None:
    weights = {"dense": 2.0, "lexical": 1.0}
    fused = fuse({"dense": [7, 8], "lexical": [7, 8]}, weights, k0=10)
    assert fused[7] == pytest.approx(most_fused(weights, k0=10))
    assert fused[8] < fused[7]
