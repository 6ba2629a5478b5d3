"""Which sentences a prompt is made of in training."""

from __future__ import annotations

from models.generator.data import ExampleRow
from models.generator.hints import hints, told, told_in_each
from services.core.classifier import OverlapClassifier
from tests.tiny import examples

ROWS = [ExampleRow.model_validate(row) for row in examples(400)]
GIVEN = [[row.quote, "One.", "Two.", "Three."] for row in ROWS]


def test_hints_are_the_best_sentences_of_the_passages() -> None:
    for row, own in zip(ROWS[:5], hints(ROWS[:5], OverlapClassifier(), 2), strict=True):
        assert len(own) == 2
        assert own[0] == row.quote


def test_rows_that_their_sentences_do_not_answer_are_left_out() -> None:
    silent = [["One.", "Two."] if at % 4 == 0 else own for at, own in enumerate(GIVEN)]
    rows, given = told(ROWS, silent)
    assert [row.id for row in rows] == [row.id for at, row in enumerate(ROWS) if at % 4]
    assert given == [own for at, own in enumerate(GIVEN) if at % 4]


def test_where_no_sentence_answers_the_quotes_are_learned_from() -> None:
    asked = {"train": ROWS[:6], "validation": ROWS[6:9]}
    right = {"train": GIVEN[:6], "validation": GIVEN[6:9]}
    assert told_in_each(asked, right) == {name: (asked[name], right[name]) for name in asked}
    for silent in asked:
        found = told_in_each(asked, right | {silent: [["One.", "Two."] for _ in asked[silent]]})
        assert found == {name: (rows, [[row.quote] for row in rows]) for name, rows in asked.items()}
