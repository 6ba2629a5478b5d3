"""The arithmetic of the gate: means over drawn questions, bounds, and what passes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.core.gate_rules import GateRules, MetricRule
from services.core.intervals import resampled_means
from services.eval.compare import compare

QUESTIONS = 60
Better = Literal["higher", "lower"]


def rule(margin: float = 0.05, min_gain: float | None = 0.0, better: Better = "higher") -> MetricRule:
    return MetricRule(better=better, compare="difference", margin=margin, min_gain=min_gain)


def times(margin: float, min_gain: float | None = None) -> MetricRule:
    return MetricRule(better="lower", compare="ratio", margin=margin, min_gain=min_gain)


def rules(**metrics: MetricRule) -> GateRules:
    return GateRules(level=0.05, draws=2_000, seed=1, min_questions=2, worst=3, metrics=metrics)


def column(values: object) -> np.ndarray:
    """One comparison in one metric."""
    return np.array(values, float).reshape(1, -1, 1)


# Drawing --------------------------------------------------------------------------------------------------------


def test_means_are_of_whole_questions_drawn_again() -> None:
    columns = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]])
    found = resampled_means(columns, 4_000, seed=3)
    assert found.shape == (4_000, 2)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 10.0)
    thirds = np.rint(found[:, 0] * 3)
    np.testing.assert_allclose(found[:, 0] * 3, thirds, atol=1e-12)
    # All three draws are the first question: 1 of 27.
    assert np.mean(thirds == 0) == pytest.approx(1 / 27, abs=0.01)
    assert found[:, 0].std() == pytest.approx(np.sqrt(2 / 3 / 3), rel=0.05)


def test_what_does_not_apply_has_no_part_in_a_mean() -> None:
    columns = np.array([[1.0, np.nan], [1.0, 5.0], [4.0, 5.0], [4.0, np.nan]])
    found = resampled_means(columns, 1_000, seed=3)
    fives = found[:, 1]
    assert set(np.round(fives[~np.isnan(fives)], 12)) == {5.0}
    assert np.isnan(fives).mean() == pytest.approx(1 / 16, abs=0.03)


def test_the_seed_decides_alone_however_draws_are_put_together() -> None:
    columns = np.random.default_rng(1).normal(size=(50, 3))
    whole = resampled_means(columns, 500, seed=3)
    np.testing.assert_array_equal(whole, resampled_means(columns, 500, seed=3))
    assert not np.array_equal(whole, resampled_means(columns, 500, seed=4))
    np.testing.assert_allclose(whole, resampled_means(columns, 500, seed=3, block_cells=50 * 7))


# Judging --------------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_normal_theory_of_paired_differences() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(0, 10, 400)
    change = rng.normal(0.5, 1, 400)
    found = compare(column(base), column(base + change), rules(quality=rule()))
    half = 1.96 * change.std() / 20
    assert found.gain[0, 0] == pytest.approx(change.mean())
    assert found.low[0, 0] == pytest.approx(change.mean() - half, abs=0.015)
    assert found.high[0, 0] == pytest.approx(change.mean() + half, abs=0.015)
    assert found.passed.tolist() == [True]


def test_a_shift_of_every_question_has_an_interval_of_no_width() -> None:
    base = np.linspace(0.1, 0.8, QUESTIONS)
    for shift, held, gained in ((0.03, True, True), (0.0, True, False), (-0.04, True, False), (-0.06, False, False)):
        found = compare(column(base), column(base + shift), rules(quality=rule(margin=0.05)))
        for end in (found.gain, found.low, found.high):
            assert end[0, 0] == pytest.approx(shift)
        assert (bool(found.held[0, 0]), bool(found.gained[0, 0])) == (held, gained)
        assert bool(found.passed[0]) == gained


def test_lower_can_be_better_and_a_ratio_is_one_of_geometric_means() -> None:
    base = np.geomspace(1, 9, QUESTIONS)
    for factor, held, gained in ((0.5, True, True), (1.2, True, False), (1.3, False, False)):
        found = compare(column(base), column(base * factor), rules(latency=times(1.25, min_gain=1.5)))
        assert found.gain[0, 0] == pytest.approx(-np.log(factor))
        assert (bool(found.held[0, 0]), bool(found.gained[0, 0])) == (held, gained)
    found = compare(column(base), column(base - 0.5), rules(seconds=rule(better="lower")))
    assert found.gain[0, 0] == pytest.approx(0.5)


def test_one_metric_that_is_not_held_outweighs_every_gain() -> None:
    good, bad = np.full(QUESTIONS, 0.9), np.full(QUESTIONS, 0.1)
    champion, challenger = np.stack([bad, good], -1)[np.newaxis], np.stack([good, bad], -1)[np.newaxis]
    found = compare(champion, challenger, rules(quality=rule(), abstention=rule(min_gain=None)))
    assert (found.held.tolist(), found.gained.tolist()) == ([[True, False]], [[True, False]])
    assert found.passed.tolist() == [False]


def test_several_metrics_to_gain_share_the_level() -> None:
    rng = np.random.default_rng(5)
    base = rng.normal(size=(1, QUESTIONS, 2))
    new = base + rng.normal(0.2, 1, size=base.shape)
    alone = compare(base, new, rules(a=rule(), b=rule(min_gain=None)))
    shared = compare(base, new, rules(a=rule(), b=rule()))
    np.testing.assert_array_equal(alone.low, alone.gain_low)
    np.testing.assert_array_equal(alone.low, shared.low)
    assert (shared.gain_low < shared.low).all()


def test_a_draw_in_which_nothing_can_be_measured_counts_as_a_loss() -> None:
    champion, challenger = np.zeros(QUESTIONS), np.full(QUESTIONS, np.nan)
    challenger[0] = 1.0  # a third of all draws miss it
    found = compare(column(champion), column(challenger), rules(quality=rule()))
    assert found.gain[0, 0] == 1.0
    assert found.low[0, 0] == -np.inf
    assert found.passed.tolist() == [False]


SCORES = st.lists(st.floats(0, 1), min_size=5, max_size=40)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.integers(0, 2**32 - 1))
def test_a_release_never_passes_against_itself(values: list[float], seed: int) -> None:
    own = rules(quality=rule()).model_copy(update={"seed": seed, "draws": 1_000})
    found = compare(column(values), column(values), own)
    assert found.held.all() and not found.passed.any()


@settings(max_examples=40, deadline=None)
@given(st.data(), SCORES)
def test_what_one_side_gains_the_other_loses(data: st.DataObject, first: list[float]) -> None:
    second = data.draw(st.lists(st.floats(0, 1), min_size=len(first), max_size=len(first)))
    there = compare(column(first), column(second), rules(quality=rule()))
    back = compare(column(second), column(first), rules(quality=rule()))
    np.testing.assert_allclose(there.gain, -back.gain, atol=1e-12)
    np.testing.assert_allclose(there.low, -back.high, atol=1e-12)
    assert not (there.passed & back.passed).any()


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(12)), SCORES.filter(lambda values: len(values) >= 12))
def test_comparisons_do_not_touch_each_other(order: list[int], values: list[float]) -> None:
    base = np.array(values[:12])
    many = np.stack([base, base[order], base * 0.5])[..., np.newaxis]
    champion = np.broadcast_to(base[:, np.newaxis], many.shape)
    together = compare(champion, many, rules(quality=rule()))
    for at in range(3):
        alone = compare(champion[at : at + 1], many[at : at + 1], rules(quality=rule()))
        np.testing.assert_allclose(together.low[at], alone.low[0], atol=1e-12)


# Rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ({"compare": "ratio", "margin": 1.0}, "the margin of a ratio must be above 1"),
        ({"compare": "difference", "margin": 0.0}, "the margin of a difference must be above 0"),
        ({"compare": "difference", "margin": 0.1, "min_gain": -0.1}, "must not be below 0"),
        ({"compare": "ratio", "margin": 1.1, "min_gain": 0.9}, "must not be below 1"),
        ({"compare": "ratio", "margin": float("inf")}, "finite"),
        ({"compare": "difference", "margin": 0.1}, "at least one metric needs min_gain"),
    ],
)
def test_rules_that_make_no_sense_are_refused(metric: dict[str, object], said: str) -> None:
    body = {"level": 0.05, "draws": 1_000, "seed": 1, "min_questions": 2, "worst": 1}
    with pytest.raises(ValidationError, match=said):
        GateRules.model_validate(body | {"metrics": {"m": {"better": "higher"} | metric}})
