"""Signatures estimate the similarities they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from models.overlap import BITS, MINIMA, piece_signatures, piece_similarity, sign_signatures, sign_similarity
from services.core.answer_metrics import words
from services.core.encoder import unit_rows

QUESTION = "How many times a day does the archive get refreshed?"
NEAR = "How many times each day does the archive get refreshed"
FAR = "Which key opens the cellar of the old lighthouse?"


def jaccard(left: str, right: str) -> float:
    sets = [
        {line[i : i + 5] for i in range(len(line) - 4)}
        for line in (f" {' '.join(words(text))} " for text in (left, right))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_pieces_estimate_the_jaccard_similarity() -> None:
    texts = [QUESTION, NEAR, FAR, QUESTION.upper().replace("?", " ?!")]
    signatures = piece_signatures(texts)
    assert signatures.shape == (4, MINIMA) and signatures.dtype == np.uint8
    found = piece_similarity(signatures, signatures)
    assert found[0, 3] == pytest.approx(1.0)  # case and punctuation are nothing
    for left in range(3):
        for right in range(3):
            assert found[left, right] == pytest.approx(jaccard(texts[left], texts[right]), abs=0.15)


def test_pieces_of_a_very_short_text() -> None:
    signatures = piece_signatures(["", "a", "a"])
    assert piece_similarity(signatures, signatures)[1, 2] == pytest.approx(1.0)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.5, 0.8, 0.9, 0.97, 1.0])
def test_signs_estimate_the_cosine(cosine: float) -> None:
    rng = np.random.default_rng(3)
    left = unit_rows(rng.normal(size=(200, 384)).astype(np.float32))
    other = rng.normal(size=left.shape).astype(np.float32)
    other = unit_rows(other - (other * left).sum(axis=1, keepdims=True) * left)
    right = np.asarray(cosine * left + np.sqrt(1 - cosine**2) * other, np.float32)
    signs = sign_signatures(left), sign_signatures(right)
    assert signs[0].shape == (200, BITS)
    errors = np.diag(sign_similarity(*signs)) - cosine
    assert abs(errors.mean()) < 0.01
    if cosine >= 0.7:
        assert errors.std() < 0.03
