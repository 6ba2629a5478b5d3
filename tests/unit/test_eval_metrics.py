from __future__ import annotations

import math

import pytest

from services.eval import metrics

A, B, C, D = ("m.pdf", 1), ("m.pdf", 2), ("m.pdf", 3), ("other.pdf", 1)


def test_retrieval_figures_by_hand() -> None:
    """Two pages answer, 1 and 3; the ranking is other:1, page 3, page 3 again, page 2, page 1."""
    figures = metrics.retrieval([D, C, C, B, A], {A, C})
    assert (figures["hit@1"], figures["hit@5"]) == (0.0, 1.0)
    assert [figures[f"recall@{k}"] for k in (1, 3, 5, 10)] == [0.0, 0.5, 1.0, 1.0]
    assert figures["mrr@10"] == 0.5
    gained = 1 / math.log2(3) + 1 / math.log2(6)  # ranks 2 and 5; rank 3 is the same page once more
    assert figures["ndcg@10"] == pytest.approx(gained / (1 + 1 / math.log2(3)))
    assert figures["ndcg@10"] == pytest.approx(0.6240505200038379)


def test_a_perfect_and_an_empty_ranking() -> None:
    perfect = metrics.retrieval([A, B], {A, B})
    assert perfect["ndcg@10"] == 1.0 == perfect["mrr@10"] == perfect["hit@1"] == perfect["recall@3"]
    assert perfect["recall@1"] == 0.5
    assert set(metrics.retrieval([], {A}).values()) == {0.0}
    assert set(metrics.retrieval([A], set())) == set(metrics.retrieval_names())
    assert set(metrics.retrieval([A], set()).values()) == {None}


def test_only_ten_places_count() -> None:
    far = [("m.pdf", page) for page in range(100, 110)]
    assert set(metrics.retrieval([*far, A], {A}).values()) == {0.0}
    many = {("m.pdf", page) for page in range(1, 13)}
    assert metrics.retrieval(sorted(many)[:10], many)["ndcg@10"] == 1.0


def test_an_answer_is_compared_and_silence_is_worth_nothing() -> None:
    figures = metrics.answer("The key is kept in the attic.", False, "It is kept in the attic.", ["the attic"])
    assert figures["contains"] == 1.0
    assert figures["answer_words"] == 7.0
    assert figures["rouge1"] == pytest.approx(2 * 5 / 13)
    assert figures["rougeL"] == pytest.approx(2 * 5 / 13)
    assert figures["token_f1"] == pytest.approx(2 * 4 / 10)  # articles do not count
    silent = metrics.answer("The documents do not hold an answer.", True, "It is kept in the attic.", ["answer"])
    assert list(silent) == metrics.answer_names()
    assert set(silent.values()) == {0.0}


def test_citations_and_abstention() -> None:
    assert metrics.citations([A, D], {A}) == {"citation_precision": 0.5}
    assert metrics.citations([], {A}) == {"citation_precision": None} == metrics.citations([A], set())
    answered, silent = metrics.abstention(False, True), metrics.abstention(True, True)
    assert answered == {"abstention_error": 0.0, "refused": 0.0, "answered_unanswerable": None}
    assert silent == {"abstention_error": 1.0, "refused": 1.0, "answered_unanswerable": None}
    fooled = metrics.abstention(False, False)
    assert fooled == {"abstention_error": 1.0, "refused": None, "answered_unanswerable": 1.0}
