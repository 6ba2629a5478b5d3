from __future__ import annotations

from collections import Counter

import pytest

from models.schedule import Schedule
from models.training import planned

LENGTHS = [10 + 37 * index % 101 for index in range(70)]


def schedule(**changes: object) -> Schedule:
    facts = {
        "epochs": 3,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 0.1,
        "warmup_share": 0.0,
        "weight_decay": 0.0,
        "max_steps": None,
        "evaluate_every": 1,
        "patience": 1,
        "seed": 3,
    }
    return Schedule.model_validate({**facts, **changes})


def test_every_epoch_has_all_examples_but_an_unfilled_batch() -> None:
    order = planned(LENGTHS, schedule())
    assert len(order) == 3 * 68
    for epoch in range(3):
        seen = Counter(order[68 * epoch : 68 * (epoch + 1)])
        assert len(seen) == 68
        assert set(seen.values()) == {1}


def test_the_order_depends_on_the_seed_alone() -> None:
    assert planned(LENGTHS, schedule()) == planned(LENGTHS, schedule())
    assert planned(LENGTHS, schedule()) != planned(LENGTHS, schedule(seed=4))


def test_epochs_differ_and_batches_are_of_like_lengths() -> None:
    order = planned(LENGTHS, schedule())
    assert order[:68] != order[68:136]
    spread = [max(part) - min(part) for part in _batches([LENGTHS[index] for index in order])]
    assert sum(spread) / len(spread) < 20  # of 100 when drawn at random


def test_steps_that_nothing_looks_at_are_left_out() -> None:
    assert len(planned(LENGTHS, schedule(evaluate_every=10))) == 50 * 4
    assert len(planned(LENGTHS, schedule(evaluate_every=10, max_steps=25))) == 20 * 4
    assert len(planned(LENGTHS, schedule(evaluate_every=100))) == 51 * 4  # one look, at the end


def test_too_few_examples() -> None:
    with pytest.raises(ValueError, match="3 examples do not fill a batch of 4"):
        planned(LENGTHS[:3], schedule())


def _batches(lengths: list[int]) -> list[list[int]]:
    return [lengths[at : at + 4] for at in range(0, len(lengths), 4)]
