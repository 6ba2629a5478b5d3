"""Several rankings of the same passages -> one. Pure functions; they know nothing of documents or indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.core.encoder import Vectors


def fuse(rankings: Mapping[str, Sequence[int]], weights: Mapping[str, float], k0: float) -> dict[int, float]:
    """Weighted reciprocal rank fusion: id -> score, best first, equal scores by smaller id.

    score(d) = sum over rankings r of weights[r] / (k0 + rank of d in r), ranks from 1, nothing where d is not in r
    (Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009, where all weights are 1 and k0 is 60). Raises KeyError for a ranking without a weight.
    """
    scores: dict[int, float] = {}
    for name, ranking in rankings.items():
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + weights[name] / (k0 + rank)
    return dict(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])))


def most_fused(weights: Mapping[str, float], k0: float) -> float:
    """The score of what is first in every ranking: no other is larger."""
    return sum(weights.values()) / (k0 + 1)


def diversify(relevance: Sequence[float], vectors: Vectors, k: int, trade_off: float) -> list[int]:
    """Maximal marginal relevance: the indices of `k` candidates, in the order they are chosen.

    Each next one has the largest trade_off * relevance - (1 - trade_off) * (largest cosine to one chosen before)
    (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", SIGIR 1998). `relevance` (n,) is on the scale of a cosine, `vectors` is (n, dim) with rows of length 1;
    trade_off 1 keeps the order of relevance. Ties go to the smaller index. Fewer than `k` if there are no more.
    """
    gain = trade_off * np.asarray(relevance, np.float64)
    nearest = np.zeros(len(gain))  # to what is chosen; the first choice is by relevance alone
    chosen: list[int] = []
    while len(chosen) < min(k, len(gain)):
        margin = gain - (1 - trade_off) * nearest
        margin[chosen] = -np.inf
        best = int(margin.argmax())
        cosines = vectors @ vectors[best]
        nearest = np.maximum(nearest, cosines) if chosen else cosines.astype(np.float64)
        chosen.append(best)
    return chosen
