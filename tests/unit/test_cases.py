"""What feedback becomes: questions to judge on, questions to train on, or nothing."""

from __future__ import annotations

import json
from typing import Any

from services.core.feedback import Feedback, Said
from services.eval.cases import Cases, PageText, cases_of, for_training, key_of
from services.eval.dataset import read_questions

PAGES = [
    PageText("doc_a", "a.pdf", "a" * 64, 1, "Fog. The bell is rung every\n12 minutes in fog. The lamp is lit."),
    PageText("doc_a", "a.pdf", "a" * 64, 2, "In summer 12 minutes are enough. The keeper sleeps at noon."),
    PageText("doc_b", "b.pdf", "b" * 64, 1, "A keeper may sleep. The bell is rung every 12 minutes in fog."),
]
READ = {7: ("doc_a", 1), 8: ("doc_a", 2), 9: ("doc_b", 1)}
# Of two questions one is for judging, the other for training: what their hashes say.
JUDGED = next(f"How often, {n}?" for n in range(99) if not for_training(key_of(f"How often, {n}?")))
TRAINED = next(f"How often, {n}?" for n in range(99) if for_training(key_of(f"How often, {n}?")))


def given(
    said: Said, question: str = JUDGED, number: int = 1, abstained: bool = False, cited: list[int] | None = None
) -> tuple[Feedback, dict[str, Any]]:
    citations = [
        {"document_id": PAGES[at].document_id, "document_name": PAGES[at].document, "page": PAGES[at].number}
        for at in ([0] if cited is None else cited)
    ]
    answer = {"question": question, "answer": "Every hour.", "abstained": abstained, "passages": [7, 8, 404]}
    return Feedback(f"fb_{number}", f"ans_{number}", "Ada", 1, said, float(number)), answer | {"citations": citations}


def made(*feedback: tuple[Feedback, dict[str, Any]], known: set[str] | None = None) -> Cases:
    return cases_of(feedback, READ, PAGES, known or set())


def test_a_correction_that_a_page_says_is_asked_or_trained_on_but_not_both() -> None:
    said = Said("down", corrected="The bell is rung every 12 minutes in fog.")
    cases = made(given(said), given(said, TRAINED, 2))
    [question] = cases.evaluation
    assert (question.id, question.question, question.document, question.pages) == (
        "feedback-ans_1",
        JUDGED,
        "a.pdf",
        [1],
    )
    assert (question.answer, question.short_answers) == (said.corrected, [said.corrected])
    [row] = cases.candidates
    assert row == {
        "id": "feedback-ans_2",
        "document": "a.pdf",
        "kind": "feedback",
        "question": TRAINED,
        "answer": said.corrected,
        "short_answers": [said.corrected],
        "page": 1,
        "quote": "The bell is rung every\n12 minutes in fog.",
        "document_id": "doc_a",
        "document_sha256": "a" * 64,
    }
    assert not cases.unusable
    lines = "".join(json.dumps(one.model_dump(mode="json")) + "\n" for one in cases.evaluation)
    assert read_questions(lines.encode()) == cases.evaluation


def test_a_short_correction_is_looked_for_on_the_pages_that_were_read_and_quoted_by_its_sentence() -> None:
    [row] = made(given(Said("down", corrected="at noon"), TRAINED)).candidates
    assert (row["page"], row["quote"]) == (2, "The keeper sleeps at noon.")
    elsewhere = made(given(Said("down", corrected="may sleep"), TRAINED))
    assert elsewhere.candidates == [] and elsewhere.unusable == {"on_no_page": 1}, "only where nothing was read"
    part = made(given(Said("down", corrected="keeper sleep"), TRAINED))
    assert part.candidates == [], "it is no part of longer words"


def test_of_the_pages_that_say_it_the_first_that_was_read_counts_else_the_first() -> None:
    said = Said("down", corrected="The bell is rung every 12 minutes in fog.")
    for passages, page in (([], ("doc_a", 1)), ([9], ("doc_b", 1)), ([9, 7], ("doc_a", 1)), ([8], ("doc_a", 1))):
        feedback, answer = given(said, TRAINED, cited=[])
        [row] = made((feedback, answer | {"passages": passages})).candidates
        assert (row["document_id"], row["page"]) == page, passages


def test_a_quote_tells_where_a_correction_in_other_words_stands() -> None:
    said = Said("down", corrected="Five times an hour.", quote="the BELL is rung every 12 minutes in fog")
    [question] = made(given(said)).evaluation
    assert (question.answer, question.pages) == ("Five times an hour.", [1])
    assert made(given(Said("down", corrected="Five times an hour."))).unusable == {"on_no_page": 1}
    [alone] = made(given(Said("down", quote="The keeper sleeps at noon."))).evaluation
    assert (alone.answer, alone.pages) == ("The keeper sleeps at noon.", [2])


def test_an_answer_that_was_right_stays_to_be_asked_but_is_never_trained_on() -> None:
    cases = made(given(Said("up"), JUDGED, cited=[1, 0, 2]))
    [case] = cases.evaluation
    assert (case.answer, case.document, case.pages) == ("Every hour.", "a.pdf", [1, 2]) and not cases.candidates
    other = made(given(Said("up"), TRAINED))
    assert (other.evaluation, other.candidates, other.unusable) == ([], [], {"a_training_question": 1})


def test_questions_of_the_same_words_are_one_question() -> None:
    assert key_of("How often, 3?") == key_of(" how  often 3") != key_of("How often, 4?")
    right = Said("down", corrected="The bell is rung every 12 minutes in fog.")
    cases = made(given(right), given(right, JUDGED.rstrip("?"), 2))
    assert len(cases.evaluation) + len(cases.candidates) == 1


def test_a_correction_without_a_word_stands_on_no_page() -> None:
    for said in (Said("down", corrected="..."), Said("down", corrected="Every hour.", quote=" . . ")):
        assert made(given(said, TRAINED)).unusable == {"on_no_page": 1}
    assert made(given(Said("up"), abstained=True, cited=[])).unusable == {"says_nothing_of_what_is_right": 1}


def test_a_wrong_citation_leaves_the_pages_of_the_others() -> None:
    [case] = made(given(Said("down", wrong_citation=0), cited=[0, 1])).evaluation
    assert (case.answer, case.pages) == ("Every hour.", [2])
    assert made(given(Said("down", wrong_citation=0))).unusable == {"says_nothing_of_what_is_right": 1}
    assert made(given(Said("down"))).unusable == {"says_nothing_of_what_is_right": 1}


def test_of_the_same_question_the_last_word_counts_and_what_is_asked_already_is_left_out() -> None:
    right = Said("down", corrected="The bell is rung every 12 minutes in fog.")
    twice = made(given(right), given(Said("up"), f" {JUDGED.upper()}", 2))
    assert [case.id for case in twice.evaluation] == ["feedback-ans_2"]
    gone = made(given(right), given(Said("down"), JUDGED, 2))
    assert gone.evaluation == [] and gone.unusable == {"says_nothing_of_what_is_right": 1}
    assert made(given(right), known={key_of(JUDGED)}).unusable == {"asked_already": 1}
