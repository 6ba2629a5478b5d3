"""Rows of single sentences: which ones are evidence, which are not, and which are left out."""

from __future__ import annotations

import pytest

from models.classifier.data import Example
from models.classifier.params import Sentences
from models.classifier.sentences import carries, sentences
from models.classifier.stretches import Evidence

GOLD = "The lamp burns whale oil in winter. It was lit in 1790 by a baker. The tower leans. Oil is dear this winter."
OTHER = "The harbour lies to the east of it. A second lamp was planned in 1790 and never lit."
KNOWN = {"q1": Evidence("It was lit in 1790 by a baker.", ("1790",))}


def row(text: str, label: str, group: str = "q1") -> Example:
    return Example(text="When was it lit?", text_pair=text, label=label, group=group, section=("Tower",))


def made(rows: list[Example], same: int = 9, other: int = 9) -> list[tuple[str | None, str]]:
    params = Sentences(same_passage=same, other_passages=other)
    return [(each.text_pair, each.label) for each in sentences(rows, KNOWN, "yes", params, 7)]


def test_evidence_is_positive_and_the_rest_of_its_passage_is_not() -> None:
    found = made([row(GOLD, "yes"), row(OTHER, "no")])
    assert ("It was lit in 1790 by a baker.", "yes") in found
    assert {text for text, label in found if label == "yes"} == {"It was lit in 1790 by a baker."}
    assert ("The lamp burns whale oil in winter.", "no") in found


def test_what_holds_a_short_answer_without_being_the_evidence_is_left_out() -> None:
    texts = {text for text, _ in made([row(GOLD, "yes"), row(OTHER, "no")])}
    assert "The harbour lies to the east of it." in texts
    assert "A second lamp was planned in 1790 and never lit." not in texts


def test_the_numbers_asked_for_are_kept_and_rows_repeat() -> None:
    rows = [row(GOLD, "yes"), *(row(f"Another passage, number {n}, of some length.", "no") for n in range(5))]
    found = made(rows, same=1, other=2)
    assert [label for _, label in found] == ["yes", "no", "no", "no"]
    assert found == made(rows, same=1, other=2)


def test_an_unanswerable_question_gives_negatives_only_and_a_section_stays() -> None:
    params = Sentences(same_passage=1, other_passages=1)
    found = sentences([row(OTHER, "no", "q2")], KNOWN, "yes", params, 7)
    assert [each.label for each in found] == ["no"]
    assert found[0].input[1] == f"Tower\n{found[0].text_pair}"


@pytest.mark.parametrize(
    ("sentence", "quote", "expected"),
    [
        ("It was lit.", "It was lit. Then it burned.", True),
        ("Before that, it was lit by a baker, they say.", "it was lit by a baker", True),
        ("It was lit in 1790 by a bak- er.", "It was lit in 1790 by a baker.", True),
        ("It was painted.", "It was lit in 1790 by a baker.", False),
        ("It", "It was lit", False),
        ("Something else entirely stands here.", "It was lit", False),
    ],
)
def test_a_sentence_carries_a_quote(sentence: str, quote: str, expected: bool) -> None:
    assert carries(sentence, quote) is expected
