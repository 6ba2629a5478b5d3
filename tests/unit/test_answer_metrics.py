from __future__ import annotations

import pytest

from services.core.answer_metrics import contains_any, token_f1


@pytest.mark.parametrize(
    ("answer", "short", "expected"),
    [
        ("The limit is 100 bytes.", ["100 bytes"], 1.0),
        ("The limit is 1000 bytes.", ["100 bytes"], 0.0),
        ("It is not case‑sensitive", ["not case-sensitive"], 1.0),
        ("Use as.numeric(levels(f))[f].", ["as.numeric(levels(f))"], 1.0),
        ("bytes 100", ["100 bytes"], 0.0),
        ("anything", [], 0.0),
        ("anything", ["!?"], 0.0),  # nothing to look for is not found everywhere
    ],
)
def test_containment_is_of_whole_words_in_their_order(answer: str, short: list[str], expected: float) -> None:
    assert contains_any(answer, short) == expected


def test_token_f1_leaves_out_articles_and_counts_repetitions() -> None:
    assert token_f1("the limit", "a limit") == 1.0
    assert token_f1("limit limit", "limit") == pytest.approx(2 / 3)
    assert token_f1("", "limit") == 0.0
    assert token_f1("nothing alike", "limit") == 0.0
