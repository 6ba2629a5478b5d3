"""Which sentences of the evidence make the answer."""

from __future__ import annotations

import math

import pytest

from services.api.choose import leading, ranked
from services.core.evidence import Evidence, Sentence
from services.core.neighbours import Part
from services.core.plan import DEFAULT_SENTENCES, SentencePlan
from services.core.types import Passage

SCORES = {"bell": 0.8, "lamp": 0.5, "boat": 0.3, "log": 0.75}  # the last one on a page of its own


def evidence() -> Evidence:
    places = {"bell": 0, "lamp": 0, "boat": 1, "log": 2}
    return Evidence([Sentence(places[text], 0, len(text), text, score) for text, score in SCORES.items()])


def passages() -> list[Passage]:
    """The first two stand on one page."""
    return [Passage(n, "doc_1", "a.pdf", page, (), 0, 1, "x", (), 0.0) for n, page in enumerate((4, 4, 5))]


def said(
    plan: SentencePlan,
    sufficiency: tuple[float, ...] = (0.5, 0.5, 0.5),
    relevance: tuple[float, ...] = (1.0, 1.0, 1.0),
    cosines: tuple[float, ...] = (0,) * 4,
) -> str:
    found = ranked(evidence(), plan, sufficiency, relevance, cosines)
    return " ".join(sentence.text for sentence in leading(found, plan, passages()))


def test_without_a_plan_the_classifiers_best_sentence_is_said_alone() -> None:
    assert said(DEFAULT_SENTENCES) == "bell"


def test_worth_is_the_weighted_sum_of_log_odds_relevance_and_cosine() -> None:
    plan = SentencePlan(sentence=2.0, passage=0.5, retrieval=4.0, cosine=3.0)
    [first, *_] = ranked(evidence(), plan, (0.9, 0.5, 0.5), (1.0, 0.5, 0.5), (0.2, 0, 0, 0))
    assert first.sentence.text == "bell"
    assert first.worth == pytest.approx(2 * math.log(4) + 0.5 * math.log(9) + 4 * 1.0 + 3 * 0.2)


def test_passages_and_cosines_can_overrule_the_sentence() -> None:
    assert said(SentencePlan(passage=1.0), sufficiency=(0.1, 0.99, 0.1)) == "boat"
    assert said(SentencePlan(retrieval=5.0), relevance=(0.3, 1.0, 0.3)) == "boat"
    assert said(SentencePlan(cosine=5.0), cosines=(0.0, 0.1, 0.2, 0.9)) == "log"


@pytest.mark.parametrize(
    ("share", "most", "expected"),
    [
        (0.7, 4, "bell log"),
        (0.2, 4, "bell lamp log"),
        (0.1, 4, "bell lamp boat log"),
        (0.1, 2, "bell log"),
        (1.0, 4, "bell"),
    ],
)
def test_others_are_said_if_they_are_nearly_as_sure(share: float, most: int, expected: str) -> None:
    assert said(SentencePlan(share=share, most=most)) == expected


def test_an_answer_reads_on_where_it_began() -> None:
    assert said(SentencePlan(share=0.2, most=2, same_page=2.0)) == "bell lamp"


def test_what_is_said_after_the_best_sentence_is_in_the_order_of_its_page() -> None:
    scores = {"early": (10, 0.6), "best": (30, 0.9), "late": (50, 0.7)}
    found = Evidence([Sentence(0, at, at + 5, text, score) for text, (at, score) in scores.items()])
    ranking = ranked(found, DEFAULT_SENTENCES, (0.5,), (1.0,), (0,) * 3)
    plan = SentencePlan(share=0.1, most=3)
    assert [one.text for one in leading(ranking, plan, passages())] == ["best", "early", "late"]


def test_the_page_of_a_sentence_that_crosses_one_is_where_it_begins() -> None:
    crossing = Sentence(2, 0, 4, "crossing", 0.7, (Part(4, 0, 4, "cros"), Part(5, 0, 4, "sing")))
    found = ranked(Evidence([*evidence().sentences, crossing]), DEFAULT_SENTENCES, (0.5,) * 3, (1.0,) * 3, (0,) * 5)
    plan = SentencePlan(share=0.5, most=2, same_page=2.0)
    assert [sentence.text for sentence in leading(found, plan, passages())] == ["bell", "crossing"]


def test_the_same_words_are_said_once() -> None:
    twice = Evidence([*evidence().sentences, Sentence(2, 9, 13, "bell", 0.79)])
    found = ranked(twice, DEFAULT_SENTENCES, (0.5,) * 3, (1.0,) * 3, (0,) * 5)
    assert [one.text for one in leading(found, SentencePlan(share=0.5, most=2), passages())] == ["bell", "log"]


def test_certainty_is_finite() -> None:
    sure = Evidence([Sentence(0, 0, 1, "a", 1.0), Sentence(0, 1, 2, "b", 0.0)])
    found = ranked(sure, SentencePlan(passage=1.0), (1.0,), (1.0,), (0, 0))
    assert [one.sentence.text for one in found] == ["a", "b"] and all(math.isfinite(one.worth) for one in found)
