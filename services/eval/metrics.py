"""How good was it? Figures of one question, each in [0, 1] unless it says otherwise; None where one is not defined."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from services.core.answer_metrics import contains_any, token_f1, words
from services.core.rouge import VARIANTS, score_pairs

RECALL_AT = (1, 3, 5, 10)
HIT_AT = (1, 5)
DEPTH = 10  # passages that are looked at
Place = tuple[str, int]  # name of a document, page
Figures = dict[str, float | None]


def retrieval(found: Sequence[Place], wanted: Collection[Place]) -> Figures:
    """Figures of a ranking. `found` are the places of the passages, best first; `wanted` are the pages that answer.

    recall@k: the part of the wanted pages that the first k passages are from. mrr@10: 1 / rank of the first of them
    that is from a wanted page. ndcg@10 (Järvelin and Kekäläinen 2002) with gain 1 for the first passage from each
    wanted page and 0 for all others, so that several passages of one page count once.
    """
    if not wanted:
        return dict.fromkeys(retrieval_names())
    hits = [place in wanted for place in found[:DEPTH]]
    figures: Figures = {f"hit@{k}": float(any(hits[:k])) for k in HIT_AT}
    figures |= {f"recall@{k}": len(set(found[:k]) & set(wanted)) / len(set(wanted)) for k in RECALL_AT}
    figures[f"mrr@{DEPTH}"] = 1 / (hits.index(True) + 1) if any(hits) else 0.0
    news = [place in wanted and place not in found[:at] for at, place in enumerate(found[:DEPTH])]
    best = _dcg([True] * min(len(set(wanted)), DEPTH))
    figures[f"ndcg@{DEPTH}"] = _dcg(news) / best
    return figures


def retrieval_names() -> list[str]:
    return [f"hit@{k}" for k in HIT_AT] + [f"recall@{k}" for k in RECALL_AT] + [f"mrr@{DEPTH}", f"ndcg@{DEPTH}"]


def _dcg(gains: Sequence[bool]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def answer(said: str, abstained: bool, expected: str, short_answers: Sequence[str]) -> Figures:
    """Nearness of an answer to the expected one. Who abstains from an answerable question gets 0 in all of them.

    `answer_words` counts words and stands beside ROUGE, whose recall longer answers raise.
    """
    text = "" if abstained else said
    [rouge] = score_pairs([(text, [expected])])
    figures: Figures = {name: rouge[name].f1 for name in VARIANTS}
    figures["token_f1"] = token_f1(text, expected)
    figures["contains"] = contains_any(text, short_answers)
    figures["answer_words"] = float(len(words(text)))
    return figures


def answer_names() -> list[str]:
    return [*VARIANTS, "token_f1", "contains", "answer_words"]


def citations(cited: Sequence[Place], wanted: Collection[Place]) -> Figures:
    """The part of the citations that are from a page that answers; None without citations or such pages."""
    right = sum(place in wanted for place in cited)
    return {"citation_precision": right / len(cited) if cited and wanted else None}


def abstention(abstained: bool, answerable: bool) -> Figures:
    """`abstention_error` is 1 for silence where there is an answer and for an answer where there is none.

    The two halves of it, each over its own questions: `refused` and `answered_unanswerable`.
    """
    return {
        "abstention_error": float(abstained == answerable),
        "refused": float(abstained) if answerable else None,
        "answered_unanswerable": None if answerable else float(not abstained),
    }
