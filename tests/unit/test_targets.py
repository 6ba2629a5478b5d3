"""What the generator learns to say."""

from __future__ import annotations

from models.generator.data import ExampleRow
from models.generator.targets import target

ROW = ExampleRow.model_validate(
    {
        "id": "q1",
        "document": "lamp.pdf",
        "kind": "fact",
        "question": "When does the keeper trim the lamp?",
        "answer": "He trims it at nine, before  the boats return.",
        "short_answers": ["at nine"],
        "quote": "It is trimmed at nine.",
        "passages": [{"text": "It is trimmed at nine.", "page": 1, "document": "lamp.pdf"}],
        "gold": 0,
    }
)


def test_it_is_the_answer_if_the_sentences_hold_most_of_its_words() -> None:
    said = ["The keeper trims the lamp\nat nine when boats return."]
    assert target(ROW, said) == "He trims it at nine, before the boats return."


def test_else_it_is_the_sentence_that_answers() -> None:
    assert (
        target(ROW, ["Boats are painted.", "It is\ntrimmed at nine.", "Goats eat at nine."]) == "It is trimmed at nine."
    )


def test_without_the_answer_there_is_nothing_to_say() -> None:
    assert target(ROW, ["Boats are painted in spring."]) is None
    assert target(ROW, []) is None
