"""Questions from pairs, the threshold from which on they are answered, and what that costs."""

from __future__ import annotations

import pytest

from models.classifier.abstention import Question, questions_of, report, threshold
from models.classifier.data import Example
from services.core.classifier import OverlapClassifier

QUESTIONS = [Question(f"a{n}", True, 0.5 + n / 100) for n in range(40)] + [
    Question(f"u{n}", False, 0.3 + n / 100) for n in range(40)
]


def pair(group: str, passage: str, label: str) -> Example:
    return Example(text="When is the bell rung?", text_pair=passage, label=label, group=group)


def test_a_question_is_as_sure_as_its_best_passage_and_sentence() -> None:
    rows = [
        pair("q1", "The bell is rung in fog. It is old.", "sufficient"),
        pair("q1", "Boats are painted in spring.", "insufficient"),
        pair("q2", "Boats are painted in spring.", "insufficient"),
    ]
    first, second = questions_of(OverlapClassifier(), rows)
    assert (first.group, first.answerable, second.answerable) == ("q1", True, False)
    assert 0 < second.sure < first.sure < 1
    assert first == questions_of(OverlapClassifier(), rows[:1])[0]._replace(group="q1")


@pytest.mark.parametrize(("share", "refused"), [(0.0, 0), (0.1, 4), (0.15, 6), (0.5, 20)])
def test_the_threshold_refuses_no_more_than_was_asked(share: float, refused: int) -> None:
    limit = threshold(QUESTIONS, share)
    assert sum(question.sure < limit for question in QUESTIONS if question.answerable) == refused


def test_without_answerable_questions_nothing_is_refused() -> None:
    assert threshold([], 0.1) == threshold([Question("u", False, 0.9)], 0.1) == 0


def test_the_report_says_what_the_threshold_does() -> None:
    found = report(QUESTIONS, 0.5)
    assert found["answerable_answered"]["value"] == 1
    assert found["unanswerable_refused"]["value"] == 0.5
    assert 0.8 < found["roc_auc"]["value"] < 0.9
    curve = found["curve"]
    assert (curve[0]["risk"], curve[-1]["coverage"], curve[-1]["risk"]) == (0, 1, 0.5)
    assert [point["coverage"] for point in curve] == sorted(point["coverage"] for point in curve)


def test_one_kind_of_question_has_no_area() -> None:
    found = report([question for question in QUESTIONS if question.answerable], 0.5)
    assert "roc_auc" not in found and found["curve"][-1] == {"coverage": 1, "risk": 0}
