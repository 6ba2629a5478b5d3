"""Question -> passages: by meaning, by words, or by both; then the first of them are read. The catalog has the last
word on every hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.api.clock import Clock
from services.api.fuse import diversify, fuse, most_fused
from services.core import chunks
from services.core.catalog import Catalog
from services.core.classifier import Classifier
from services.core.encoder import Encoder, Vectors
from services.core.evidence import sufficiency
from services.core.neighbours import Window, window_of
from services.core.plan import DENSE, LEXICAL, RERANK, Plan
from services.core.types import Hit, Passage, PassageFilter
from services.core.vector_store.rules import SCORE_DECIMALS
from services.core.view import Found, IndexView, LexicalView


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Passages, best first; the catalog's sequence number; and each passage's rank, from 1, in each stage it was in.

    By chunk id, `relevance` has each passage's fused score, as a share of the score of one that is first in every
    stage, and `sufficiency` the probability that it answers for each passage that was read. `seconds` is how long each
    stage took, and `vector` the question's.
    """

    passages: list[Passage]
    seq: int
    ranks: dict[int, dict[str, int]]
    relevance: dict[int, float]
    sufficiency: dict[int, float]
    seconds: dict[str, float]
    vector: Vectors


class Retriever:
    """Of `dense` and `lexical`, a view that the plan does not use may be None. `judge` reads for the stage `rerank`."""

    def __init__(
        self,
        catalog: Catalog,
        encoder: Encoder,
        judge: Classifier,
        plan: Plan,
        dense: IndexView | None,
        lexical: LexicalView | None,
    ) -> None:
        self._catalog = catalog
        self._encoder = encoder
        self._judge = judge
        self.plan = plan
        self._dense = dense
        self._lexical = lexical

    def search(self, collection: str, query: str, k: int, wanted: PassageFilter | None = None) -> Retrieved:
        """The `k` best passages of `collection` that `wanted` lets through, best first.

        Whatever ranked a passage, its score is the cosine similarity. Raises NotFound for an unknown document.
        """
        clock, within = Clock(), None
        if wanted is not None:
            within = chunks.selected(self._catalog.database, collection, wanted)
            clock.lap("filter")
        vector = self._encoder.encode([query])[0]
        clock.lap("encode")
        weights = self.plan.weights
        alone = len(weights) == 1 and self.plan.mmr_trade_off is None
        depth = k if alone else max(k, self.plan.fusion_depth, self.plan.rerank_depth)
        stages: dict[str, Found] = {}
        if self._dense is not None and DENSE in weights:
            stages[DENSE] = self._dense.search(collection, vector, depth, within)
            clock.lap(DENSE)
        if self._lexical is not None and LEXICAL in weights:
            stages[LEXICAL] = self._lexical.search(collection, query, depth, within)
            clock.lap(LEXICAL)
        rankings = {name: [hit.chunk_id for hit in found.hits] for name, found in stages.items()}
        known = {hit.chunk_id: hit.score for hit in stages[DENSE].hits} if DENSE in stages else {}
        fused = fuse(rankings, weights, self.plan.fusion_k0)
        clock.lap("fuse")
        read: dict[int, float] = {}
        if self.plan.rerank_depth:
            near = self._catalog.passages(self._scored(list(fused)[: self.plan.rerank_depth], vector, known))
            found_to = sufficiency(query, near, self._judge)
            read = {passage.chunk_id: score for passage, score in zip(near, found_to, strict=True)}
            clock.lap(RERANK)
            rankings[RERANK] = sorted(read, key=lambda item: (-read[item], item))
            fused = fuse(rankings, weights, self.plan.fusion_k0)
        best = self._diverse(fused, k) if self.plan.mmr_trade_off is not None else list(fused)[:k]
        ranks: dict[int, dict[str, int]] = {item: {} for item in best}
        for name, ranking in rankings.items():
            for rank, item in enumerate(ranking, 1):
                if item in ranks:
                    ranks[item][name] = rank
        clock.lap("fuse")
        most = most_fused(weights, self.plan.fusion_k0)
        seq = min(found.seq for found in stages.values())
        passages = self._catalog.passages(self._scored(best, vector, known))
        clock.lap("fetch")
        return Retrieved(
            passages,
            seq,
            ranks,
            {item: fused[item] / most for item in best},
            {item: read[item] for item in best if item in read},
            clock.seconds,
            vector,
        )

    def windows(self, passages: Sequence[Passage]) -> list[Window | None]:
        """What stands beside each of `passages` in its document, by one query, whatever a filter let through.

        None for each if the plan does not join neighbours, and for one whose document has been deleted meanwhile.
        """
        if not self.plan.join_neighbours:
            return [None for _ in passages]
        ids = {passage.chunk_id + step for passage in passages for step in (-1, 0, 1)}  # numbered in their order
        there = chunks.placed(self._catalog.database, sorted(ids))
        found: list[Window | None] = []
        for passage in passages:
            before, own, after = (there.get(passage.chunk_id + step) for step in (-1, 0, 1))
            found.append(window_of(before, own, after) if own else None)
        return found

    def _diverse(self, fused: dict[int, float], k: int) -> list[int]:
        """`k` of the fused passages by maximal marginal relevance, which is the fused score over the largest there."""
        vectors = self._vectors(list(fused))
        there = [item for item in fused if item in vectors]
        if not there:
            return []
        largest = max(fused.values())
        relevance = [fused[item] / largest for item in there]
        trade_off = self.plan.mmr_trade_off
        assert trade_off is not None
        return [there[i] for i in diversify(relevance, np.array([vectors[item] for item in there]), k, trade_off)]

    def _scored(self, items: Sequence[int], vector: Vectors, known: dict[int, float]) -> list[Hit]:
        """`items` with their cosine to `vector`: the one that is known, or that of the stored vector."""
        others = [item for item in items if item not in known]
        stored = self._vectors(others) if others else {}
        cosines = {item: round(float(row @ vector), SCORE_DECIMALS) for item, row in stored.items()}
        scores = known | {item: min(1.0, max(-1.0, cosine)) for item, cosine in cosines.items()}
        return [Hit(item, scores[item]) for item in items if item in scores]

    def _vectors(self, items: Sequence[int]) -> dict[int, Vectors]:
        """The vector (dim,) of each of `items` that is there: the stored one. Where another encoder has embedded the
        document anew since the views read it, ours is made here."""
        database = self._catalog.database
        found = chunks.vectors(database, items, self._encoder.id, self._encoder.dim)
        if missing := [item for item in items if item not in found]:
            texts = chunks.texts_of(database, missing)
            found |= dict(zip(texts, self._encoder.encode(list(texts.values())), strict=True))
        return found
