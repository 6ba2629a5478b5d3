"""Claims and their quotes: what counts as supported, and what may not be invented."""

from __future__ import annotations

import pytest

from services.api.ground import claims_of, names, support
from services.core.evidence import Evidence, Sentence

PASSAGE = (
    "The lamp is trimmed at nine by the keeper. The bell is rung every 12 minutes when there is fog. "
    "Use lampctl --dim to lower the flame. The log is kept in /var/log/lamp.log."
)
QUESTION = "What happens in fog?"


def evidence(*scores: float) -> Evidence:
    texts = [part if part.endswith(".") else part + "." for part in PASSAGE.split(". ")]
    starts = [PASSAGE.index(text) for text in texts]
    given = [*scores, *[0.1] * len(texts)]
    return Evidence([Sentence(0, s, s + len(t), t, p) for s, t, p in zip(starts, texts, given, strict=False)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Use lampctl --dim, or edit /etc/lamp.conf (version 2.1).", ["--dim", "/etc/lamp.conf", "2.1"]),
        ("The keeper of Hythe uses SIGTERM and maxRetries.", ["Hythe", "SIGTERM", "maxRetries"]),
        ("It is rung every 12 minutes.", ["12"]),
        ("It is rung. Then I rest.", []),
        ("Nothing here may be checked.", []),
    ],
)
def test_names_are_what_may_not_be_invented(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_support_is_the_share_of_content_words() -> None:
    assert support("the bell rings in fog", ["The bell is rung when there is fog"]) == pytest.approx(2 / 3)
    assert support("is it of the", ["anything"]) == 1
    assert support("bell fog", ["a bell", "some fog"]) == 1
    assert support("bell", []) == 0


def test_a_claim_is_cited_with_the_sentence_that_carries_it() -> None:
    [claim] = claims_of(QUESTION, "The bell is rung every 12 minutes.", evidence(), 0.6)
    assert claim.supported
    assert claim.evidence[0].text.startswith("The bell is rung")
    assert PASSAGE[claim.evidence[0].start : claim.evidence[0].end] == claim.evidence[0].text


def test_each_sentence_is_a_claim_and_two_quotes_may_carry_one() -> None:
    draft = "The lamp is trimmed at nine and the log is kept in /var/log/lamp.log. The bell is rung."
    first, second = claims_of(QUESTION, draft, evidence(), 0.8)
    assert first.supported and len(first.evidence) == 2
    assert second.supported


@pytest.mark.parametrize(
    "draft",
    [
        "The bell is rung every 15 minutes in fog.",  # another number
        "The bell is rung every 1 minutes in fog.",  # a part of the number is not the number
        "Use lampctl --dimmer to lower the flame.",
        "The log is kept in /var/log/lamp.",
        "The bell is rung by Marta in fog.",
        "Whales swim quietly beneath distant northern icebergs.",
    ],
)
def test_what_no_evidence_holds_is_not_supported(draft: str) -> None:
    assert not any(claim.supported for claim in claims_of(QUESTION, draft, evidence(), 0.6))


def test_what_the_question_says_needs_no_quote() -> None:
    [claim] = claims_of("Is Hythe lit at nine?", "The lamp of Hythe is trimmed at nine.", evidence(), 0.6)
    assert claim.supported


def test_without_evidence_nothing_is_supported_and_without_words_there_is_no_claim() -> None:
    [claim] = claims_of(QUESTION, "The bell is rung.", Evidence([]), 0.0)
    assert not claim.supported and claim.evidence == ()
    assert claims_of(QUESTION, "  ", evidence(), 0.6) == []
