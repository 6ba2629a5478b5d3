"""Question -> passages: by meaning, by words, or by both. The catalog has the last word on every hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from services.api.fuse import diversify, fuse
from services.core import chunks
from services.core.catalog import Catalog
from services.core.encoder import Encoder, Vectors
from services.core.settings import Settings
from services.core.types import Hit, Passage, PassageFilter
from services.core.vector_store.rules import SCORE_DECIMALS
from services.core.view import Found, IndexView, LexicalView

DENSE, LEXICAL = "dense", "lexical"


@dataclass(frozen=True, slots=True)
class Plan:
    """How passages are ranked: a weight for each stage that takes part, and how their rankings are joined."""

    weights: dict[str, float]
    k0: float
    depth: int
    mmr_trade_off: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        weights = {DENSE: settings.fusion_dense_weight, LEXICAL: settings.fusion_lexical_weight}
        if settings.retrieval != "hybrid":
            weights = {settings.retrieval: 1.0}
        return cls(weights, settings.fusion_k0, settings.fusion_depth, settings.mmr_trade_off)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Passages, best first; the catalog's sequence number; and each passage's rank, from 1, in each stage it was in."""

    passages: list[Passage]
    seq: int
    ranks: dict[int, dict[str, int]] = field(default_factory=dict)


class Retriever:
    """Of `dense` and `lexical`, a view that the plan does not use may be None."""

    def __init__(
        self, catalog: Catalog, encoder: Encoder, plan: Plan, dense: IndexView | None, lexical: LexicalView | None
    ) -> None:
        self._catalog = catalog
        self._encoder = encoder
        self.plan = plan
        self._dense = dense
        self._lexical = lexical

    def search(self, collection: str, query: str, k: int, wanted: PassageFilter | None = None) -> Retrieved:
        """The `k` best passages of `collection` that `wanted` lets through, best first.

        Whatever ranked a passage, its score is the cosine similarity. Raises NotFound for an unknown document.
        """
        within = None if wanted is None else chunks.selected(self._catalog.database, collection, wanted)
        vector = self._encoder.encode([query])[0]
        depth = max(k, self.plan.depth) if len(self.plan.weights) > 1 or self.plan.mmr_trade_off is not None else k
        stages: dict[str, Found] = {}
        if self._dense is not None and DENSE in self.plan.weights:
            stages[DENSE] = self._dense.search(collection, vector, depth, within)
        if self._lexical is not None and LEXICAL in self.plan.weights:
            stages[LEXICAL] = self._lexical.search(collection, query, depth, within)
        rankings = {name: [hit.chunk_id for hit in found.hits] for name, found in stages.items()}
        fused = fuse(rankings, self.plan.weights, self.plan.k0)
        best = self._diverse(fused, k) if self.plan.mmr_trade_off is not None else list(fused)[:k]
        known = {hit.chunk_id: hit.score for hit in stages[DENSE].hits} if DENSE in stages else {}
        ranks: dict[int, dict[str, int]] = {item: {} for item in best}
        for name, ranking in rankings.items():
            for rank, item in enumerate(ranking, 1):
                if item in ranks:
                    ranks[item][name] = rank
        seq = min(found.seq for found in stages.values())
        return Retrieved(self._catalog.passages(self._scored(best, vector, known)), seq, ranks)

    def _diverse(self, fused: dict[int, float], k: int) -> list[int]:
        """`k` of the fused passages by maximal marginal relevance, which is the fused score over the largest there."""
        vectors = chunks.vectors(self._catalog.database, list(fused), self._encoder.dim)
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
        stored = chunks.vectors(self._catalog.database, others, self._encoder.dim) if others else {}
        cosines = {item: round(float(row @ vector), SCORE_DECIMALS) for item, row in stored.items()}
        scores = known | {item: min(1.0, max(-1.0, cosine)) for item, cosine in cosines.items()}
        return [Hit(item, scores[item]) for item in items if item in scores]
