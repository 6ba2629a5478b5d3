from __future__ import annotations

from dataclasses import replace

import pytest

from services.core.prompt import DEFAULT_PROMPT, Message, Prompt


def test_passages_given_best_first_are_put_last_to_first() -> None:
    messages = DEFAULT_PROMPT.messages("What is it?", ["The best\n one.", "The  second.", "The third."])
    said = "Context:\nThe third.\n\nThe second.\n\nThe best one.\n\nWhat is it? Answer in one sentence."
    assert messages == [Message("user", said)]


def test_braces_in_texts_are_only_text() -> None:
    (message,) = DEFAULT_PROMPT.messages("What is {passages}?", ["{question} {0} {"])
    assert message.content == "Context:\n{question} {0} {\n\nWhat is {passages}? Answer in one sentence."


def test_the_id_of_the_words_stays() -> None:
    """Answers that were logged name it."""
    assert DEFAULT_PROMPT.id == "2d3aa08212f6"
    earlier = replace(DEFAULT_PROMPT, passages=True, sentences=4)
    assert earlier.id == "ebf3b6879c80"
    assert replace(earlier, sentences_by="encoder").id == "f77ad20c5d00"


def test_the_best_sentences_stand_alone_or_after_the_passages() -> None:
    passages, best = ["One. Two.", "Three."], ["Three.", "One."]
    (alone,) = DEFAULT_PROMPT.messages("What?", passages, best)
    assert alone.content == "Context:\nOne.\n\nThree.\n\nWhat? Answer in one sentence."
    (both,) = replace(DEFAULT_PROMPT, passages=True).messages("What?", passages, best)
    assert both.content == "Context:\nThree.\n\nOne. Two.\n\nOne.\n\nThree.\n\nWhat? Answer in one sentence."


@pytest.mark.parametrize(
    "other",
    [
        Prompt(DEFAULT_PROMPT.user + " ", DEFAULT_PROMPT.stops, DEFAULT_PROMPT.abstention),
        Prompt(DEFAULT_PROMPT.user, DEFAULT_PROMPT.stops[:1], DEFAULT_PROMPT.abstention),
        Prompt(DEFAULT_PROMPT.user, DEFAULT_PROMPT.stops, "No."),
        Prompt(DEFAULT_PROMPT.user, DEFAULT_PROMPT.stops, DEFAULT_PROMPT.abstention, 5),
        replace(DEFAULT_PROMPT, passages=True),
    ],
)
def test_other_words_have_another_id(other: Prompt) -> None:
    assert other.id != DEFAULT_PROMPT.id


@pytest.mark.parametrize(
    "user",
    [
        "",
        "{question}",
        "{passages}",
        "{passages} {question} {question}",
        "{passages} {question} {more}",
        "{passages} {question.__class__}",
        "{passages!r} {question}",
        "{passages:>99999999} {question}",
        "{passages} {question} {",
        "{passages} {question} {}",
    ],
)
def test_a_template_with_other_fields_is_refused(user: str) -> None:
    with pytest.raises(ValueError):
        Prompt(user, (), "")
