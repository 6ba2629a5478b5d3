"""The tests of drift on made samples, and the rules that they follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from services.api.recorder import sampled
from services.core.drift_rules import DriftRules, read_drift_rules
from services.core.errors import SettingsProblem
from services.eval.drift import drifted, figure_tests, questions_test
from tests.server import ROOT

RULES = DriftRules(
    reference_rows=40,
    window_rows=20,
    min_rows=5,
    level=0.2,
    permutations=99,
    seed=1,
    in_a_row=2,
    figures=["question_words", "top_score"],
)


def sample(rng: np.random.Generator, rows: int, shift: float = 0.0, dim: int = 6) -> NDArray[np.float32]:
    """Unit vectors; `shift` moves their middle."""
    raw = rng.standard_normal((rows, dim))
    raw[:, 0] += shift
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)


def test_samples_alike_are_told_apart_as_rarely_as_the_level_says() -> None:
    rng = np.random.default_rng(4)
    found = [questions_test(sample(rng, 40), sample(rng, 20), RULES) for _ in range(300)]
    share = sum(test.drift for test in found) / len(found)
    assert 0.05 <= share <= 0.15, "around half of the level, which is 0.1 here"
    for test in found:
        assert test.drift == (test.p_value <= RULES.questions_level + 1e-12) == (test.score > test.threshold)


def test_a_shift_is_seen_the_same_way_every_time() -> None:
    reference, window = sample(np.random.default_rng(1), 40), sample(np.random.default_rng(2), 20, shift=1.5)
    test = questions_test(reference, window, RULES)
    assert test.drift and test.p_value == 0.01 and test.score > 2 * test.threshold
    assert questions_test(reference, window, RULES) == test


def test_the_distance_is_the_one_of_the_definition() -> None:
    """Equation 5 of Gretton et al. (2012), written out."""
    rng = np.random.default_rng(3)
    x, y = sample(rng, 12).astype(float), sample(rng, 7, shift=1).astype(float)
    between = [float(((a - b) ** 2).sum()) for at, a in enumerate(x) for b in x[at + 1 :]]

    def kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        squared = [((a - b) ** 2).sum() for a in first for b in second]
        return float(np.mean(np.exp(-np.array(squared) / (2 * np.median(between)))))

    want = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    got = questions_test(x.astype(np.float32), y.astype(np.float32), RULES)
    assert got.score == pytest.approx(want, abs=1e-6)


def test_one_question_asked_again_and_again_is_no_drift() -> None:
    same = np.repeat(sample(np.random.default_rng(1), 1), 40, axis=0)
    assert not questions_test(same, same[:20], RULES).drift


def test_figures_share_the_other_half_of_the_level() -> None:
    words, score = figure_tests({"question_words": 0.049, "top_score": 0.051}, RULES)
    assert RULES.figure_level == 0.05 and words.threshold == pytest.approx(1.30103)
    assert (words.drift, score.drift) == (True, False)
    assert drifted([score, words]) and not drifted([score])
    (certain, _) = figure_tests({"question_words": 0.0, "top_score": 1.0}, RULES)
    assert certain.drift and certain.score == 300.0, "JSON has no infinity"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"figures": ["question_words", "hair_colour"]}, "drift.figures.1"),
        ({"level": 0.001}, "drift: "),  # 99 permutations cannot give a p-value that small
        ({"window_rows": 5}, "drift.window_rows"),
        ({"alarms": 2}, "drift.alarms"),
    ],
)
def test_rules_that_cannot_work_are_refused_by_name(changes: dict[str, object], where: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"drift": RULES.model_dump() | changes}))
    with pytest.raises(SettingsProblem, match=where):
        read_drift_rules(path)


def test_the_rules_that_ship_can_be_used() -> None:
    rules = read_drift_rules(ROOT / "params.yaml")
    assert rules.level <= 0.05 and rules.in_a_row == 2


def test_a_share_of_the_answers_is_captured_and_always_the_same_ones() -> None:
    ids = [f"ans_{at}" for at in range(2_000)]
    kept = [sampled(one, 0.25) for one in ids]
    assert 400 < sum(kept) < 600 and kept == [sampled(one, 0.25) for one in ids]
    assert all(sampled(one, 1.0) for one in ids) and not any(sampled(one, 0.0) for one in ids)
