"""What every encoder promises, kept by the real one and by the one without weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.remembered import Remembered
from services.core.encoder import Encoder, HashingEncoder, Vectors, cpu_has_bfloat16, open_encoder, unit_rows
from services.core.errors import ModelProblem

TEXTS = [
    "The cat sleeps on the sofa.",
    "Interest rates rose by half a percent in the last quarter of the year, to everybody's surprise.",
    "sofa",
    "Ein Kätzchen schläft, naïve façade, 東京 — 3.14 % of ½ «quotes»; a_b-c/d\\e\n\n\ttabs   and spaces ",
    "word " * 250,
]
# Rounding of bfloat16 depends on how a batch is padded.
CLOSE = 0.02 if cpu_has_bfloat16() else 1e-5


@pytest.fixture(scope="module", params=["tuned", "sentence", "hashing", "remembered"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    if request.param == "hashing":
        return open_encoder("hashing", Path("nowhere"), threads=2)
    kind = "sentence" if request.param == "sentence" else "tuned"
    encoder = open_encoder(kind, request.getfixturevalue("models_dir"), threads=2)
    return Remembered(encoder) if request.param == "remembered" else encoder


def test_vectors_are_float32_rows_of_length_1(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dim)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert vectors.flags.c_contiguous


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    vectors = encoder.encode([])
    assert vectors.shape == (0, encoder.dim) and vectors.dtype == np.float32
    assert encoder.token_spans("") == []
    assert encoder.token_spans(" \n\t ") == []


def test_texts_without_words_still_have_vectors(encoder: Encoder) -> None:
    vectors = encoder.encode(["", " ", "\n", "…"])
    assert np.isfinite(vectors).all()
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


def test_a_vector_does_not_depend_on_its_neighbours(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS * 9)  # more than one batch
    for index, text in enumerate(TEXTS):
        alone = encoder.encode([text])[0]
        assert np.abs(together[index :: len(TEXTS)] - alone).max() < CLOSE, text


def test_the_same_texts_give_the_same_vectors(encoder: Encoder) -> None:
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_near_texts_have_near_vectors(encoder: Encoder) -> None:
    query, near, far = encoder.encode(
        ["Where does the cat sleep?", "The cat sleeps on the sofa.", "Interest rates rose in the last quarter."]
    )
    assert query @ near > query @ far + 0.1


@pytest.mark.parametrize("text", TEXTS)
def test_token_spans_are_in_order_and_cover_every_character(encoder: Encoder, text: str) -> None:
    spans = encoder.token_spans(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(left[0] <= right[0] and left[1] <= right[1] for left, right in pairwise(spans))
    covered = {at for start, end in spans for at in range(start, end)}
    assert [text[at] for at in range(len(text)) if at not in covered and not text[at].isspace()] == []


def test_a_text_of_max_tokens_is_read_to_its_end(encoder: Encoder) -> None:
    assert encoder.max_tokens >= 200
    full = "river " * (encoder.max_tokens - 1)
    assert len(encoder.token_spans(full + "bank")) == encoder.max_tokens
    one, other = encoder.encode([full + "bank", full + "volcano"])
    assert np.abs(one - other).max() > 0
    if not isinstance(encoder, HashingEncoder):  # which reads on: its limit is there to be like the other
        beyond = full + "bank "
        assert np.array_equal(encoder.encode([beyond + "volcano"]), encoder.encode([beyond + "river"]))


def test_ids_name_the_encoder(encoder: Encoder, models_dir: Path) -> None:
    ids = [open_encoder(kind, models_dir, threads=2).id for kind in ("tuned", "sentence", "hashing")]
    assert encoder.id in ids
    assert len(set(ids)) == 3
    assert ids[0] == open_encoder("tuned", models_dir, threads=2).id
    assert HashingEncoder(dim=64).id != ids[2]


def test_absent_weights_are_a_model_problem(tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match="capstone fetch"):
        open_encoder("tuned", tmp_path, threads=2)


def test_unit_rows_leaves_its_argument_alone() -> None:
    raw = np.array([[3, 4], [0, 0]], np.float32)
    assert unit_rows(raw).tolist() == [pytest.approx([0.6, 0.8]), [1, 0]]
    assert raw.tolist() == [[3, 4], [0, 0]]


def test_remembered_texts_are_not_embedded_again() -> None:
    class Counting(HashingEncoder):
        embedded = 0

        def encode(self, texts: Sequence[str]) -> Vectors:
            self.embedded += len(texts)
            return super().encode(texts)

    counting = Counting()
    remembered = Remembered(counting)
    first = remembered.encode(["a", "b", "a"])
    second = remembered.encode(["b", "c"])
    assert counting.embedded == 3
    assert np.array_equal(first, HashingEncoder().encode(["a", "b", "a"])) and np.array_equal(second[0], first[1])
