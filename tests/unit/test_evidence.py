from __future__ import annotations

from services.core.encoder import HashingEncoder
from services.core.evidence import Evidence, nearest_sentences

PASSAGES = [
    "The lamp is trimmed at nine by the keeper. The bell is rung when there is fog.",
    "Boats are painted in spring. The keeper paints the lamp in white.",
]


def test_sentences_are_spans_of_their_passages() -> None:
    evidence = Evidence.of(PASSAGES, HashingEncoder())
    assert len(evidence.sentences) == 4
    for sentence in evidence.sentences:
        assert PASSAGES[sentence.passage][sentence.start : sentence.end] == sentence.text
    assert evidence.vectors.shape == (4, 384)


def test_the_nearest_come_first_and_whatever_the_order_of_the_passages() -> None:
    question = "When is the bell rung in fog?"
    found = nearest_sentences(question, PASSAGES, HashingEncoder(), 2)
    assert found[0] == "The bell is rung when there is fog."
    assert nearest_sentences(question, PASSAGES[::-1], HashingEncoder(), 2) == found


def test_nothing_to_read_and_nothing_wanted() -> None:
    assert nearest_sentences("When?", [], HashingEncoder(), 3) == []
    assert nearest_sentences("When?", PASSAGES, HashingEncoder(), 0) == []
    assert len(nearest_sentences("When?", PASSAGES, HashingEncoder(), 99)) == 4
