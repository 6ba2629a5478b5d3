from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.api.lineage import pieces

WORDS = st.lists(st.sampled_from(["the", "lamp", "is", "lit", "12", "times"]), max_size=12).map(" ".join)


def test_words_that_came_and_went() -> None:
    found = [(piece.op, piece.text) for piece in pieces("The lamp  is\nlit at nine.", "The lamp is out at nine.")]
    assert found == [("same", "The lamp is"), ("gone", "lit"), ("new", "out"), ("same", "at nine.")]
    assert list(pieces("", "")) == []


@given(WORDS, WORDS)
def test_both_texts_can_be_read_from_the_pieces(before: str, now: str) -> None:
    found = list(pieces(before, now))
    for text, other in ((before, "new"), (now, "gone")):
        assert " ".join(piece.text for piece in found if piece.op != other) == text
    assert all(piece.text for piece in found)
