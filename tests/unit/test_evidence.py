from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from services.core.classifier import OverlapClassifier
from services.core.evidence import Evidence, Sentence, answerability, evidence_of, evidence_of_all, sufficiency

JUDGE = OverlapClassifier()


class Passage(NamedTuple):
    section: tuple[str, ...]
    text: str


PASSAGES = [
    Passage(("Duties",), "The lamp is trimmed at nine by the keeper. The bell is rung when there is fog."),
    Passage((), "Boats are painted in spring. The keeper paints the lamp in white."),
]
QUESTION = "When is the bell rung in fog?"


def best(passages: Sequence[Passage], count: int) -> list[str]:
    return [sentence.text for sentence in evidence_of(QUESTION, passages, JUDGE).best(count)]


def test_sentences_are_spans_of_their_passages() -> None:
    evidence = evidence_of(QUESTION, PASSAGES, JUDGE)
    assert [sentence.passage for sentence in evidence.sentences] == [0, 0, 1, 1]
    for sentence in evidence.sentences:
        assert PASSAGES[sentence.passage].text[sentence.start : sentence.end] == sentence.text


def test_the_best_come_first_and_whatever_the_order_of_the_passages() -> None:
    found = best(PASSAGES, 2)
    assert found[0] == "The bell is rung when there is fog."
    assert best(PASSAGES[::-1], 1) == found[:1]


def test_a_sentence_is_judged_with_the_titles_of_its_section() -> None:
    asked, (text, other) = "Which duties are there?", ("It is a plain sentence.", "Here is another one.")
    found = evidence_of(asked, [Passage((), text), Passage(("Duties",), other)], JUDGE)
    assert [sentence.text for sentence in found.best(1)] == [other]


def test_nothing_to_read_and_nothing_wanted() -> None:
    assert best([], 3) == []
    assert best(PASSAGES, 0) == []
    assert len(best(PASSAGES, 99)) == 4


def test_many_questions_at_once_are_each_by_itself() -> None:
    asked = [(QUESTION, PASSAGES), ("Who paints the boats?", PASSAGES[1:]), ("Anything?", [])]
    assert evidence_of_all(asked, JUDGE) == [evidence_of(*each, JUDGE) for each in asked]


def test_answerability_needs_a_passage_and_a_sentence() -> None:
    def evidence(*scores: float) -> Evidence:
        return Evidence([Sentence(0, 0, 1, "x", score) for score in scores])

    assert answerability([0.1, 0.9], evidence(0.4, 0.2)) == pytest.approx(0.6)
    assert answerability([], evidence()) == 0
    assert answerability([0.9], evidence(0.0)) == 0
    assert 0 < answerability(sufficiency(QUESTION, PASSAGES, JUDGE), evidence_of(QUESTION, PASSAGES, JUDGE)) <= 1
