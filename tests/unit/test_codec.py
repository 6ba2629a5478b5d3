from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import codec
from services.core.types import Box, Word

points = st.floats(0, 3000, width=32).map(lambda value: round(value, 2))
words = st.builds(
    Word, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.builds(Box, points, points, points, points)
)


@given(st.lists(words, max_size=20))
def test_words_come_back_to_a_hundredth_of_a_point(given_words: list[Word]) -> None:
    back = codec.unpack_words(codec.pack_words(given_words))
    assert [(word.start, word.end) for word in back] == [(word.start, word.end) for word in given_words]
    for before, after in zip(given_words, back, strict=True):
        assert after.box == pytest.approx(before.box, abs=0.011)


def test_vectors_come_back_exactly() -> None:
    vectors = np.random.default_rng(1).standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(codec.unpack_vectors(codec.pack_vectors(vectors), 7), vectors)
    assert codec.unpack_vectors(b"", 7).shape == (0, 7)


def test_chunk_ids_of_different_documents_never_meet_and_are_exact_in_json() -> None:
    first, second = codec.chunk_ids(1, 1_000_000), codec.chunk_ids(2, 1_000_000)
    assert first[-1] < second[0]
    assert codec.chunk_ids(2**32, 10)[-1] < 2**53
    with pytest.raises(ValueError, match="chunks in one document"):
        codec.chunk_ids(1, 2**20)
