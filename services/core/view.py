"""Indexes that follow the catalog: they apply committed changes in order and never have the last word.

Several processes may follow the same catalog. Each search first applies what was committed since, and every hit is
looked up in the catalog before it is returned, so a deleted document is gone the moment its deletion commits.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core import chunks
from services.core.catalog import Catalog
from services.core.change_log import Change
from services.core.lexical import LexicalIndex
from services.core.types import Hit
from services.core.vector_store import VectorStore
from services.core.vector_store.rules import Ids

_BATCH = 200  # changes applied between two marks
_log = logging.getLogger("capstone.view")


@dataclass(frozen=True, slots=True)
class Found:
    """Chunks that the catalog holds, best first, and the sequence number of its state they were looked for in."""

    hits: list[Hit]
    seq: int


class View(ABC):
    """Documents of another encoder than `encoder_id` are passed over: their vectors cannot be compared.

    One that another encoder embeds anew (reindex.py) stays in a view that holds it, with the vectors of the old one,
    until it is deleted; a view that has yet to read it finds the vectors of the new one, and passes it over.
    """

    def __init__(self, catalog: Catalog, index: VectorStore | LexicalIndex, encoder_id: str) -> None:
        self._catalog = catalog
        self._index = index
        self._encoder_id = encoder_id
        self._lock = threading.Lock()
        self._applied = self._saved_seq = index.applied_seq()

    @abstractmethod
    def _publish(self, change: Change) -> None:
        """Put the chunks of a published document in; there are none if a later change deletes it, or publishes it with
        vectors of another encoder."""

    def catch_up(self) -> int:
        """Apply every committed change; returns the sequence number reached."""
        with self._lock:
            applied = self._index.applied_seq()
            last = self._catalog.last_seq()  # read second: what the index has applied can only be older
            if applied > last:
                _log.warning("view is ahead of its catalog; rebuilding", extra={"fields": {"seq": applied}})
                self._index.reset()
                applied = 0
            while applied < last:
                batch = self._catalog.changes_after(applied, _BATCH)
                for change in batch:
                    self._apply(change)
                applied = batch[-1].seq
                self._index.mark_applied(applied)
            self._applied = applied
            return applied

    def _apply(self, change: Change) -> None:
        if change.kind == "delete":  # of whatever encoder: it may be in from before it was embedded anew
            self._index.remove(change.collection, change.chunk_ids)
        elif change.encoder_id == self._encoder_id:
            self._publish(change)

    def _find(self, fetch: Callable[[int], list[Hit]], k: int) -> Found:
        """The best `k` of what `fetch(n)` gives, best first, that the catalog still holds."""
        seq = self.catch_up()
        wanted = k
        while True:
            hits = fetch(wanted)
            there = chunks.existing(self._catalog.database, [hit.chunk_id for hit in hits])
            if len(there) >= k or len(hits) < wanted:
                return Found([hit for hit in hits if hit.chunk_id in there][:k], seq)
            wanted += len(hits) - len(there)  # some were deleted a moment ago: look past them

    def lag(self) -> int:
        """Committed sequence numbers that this view has not applied yet."""
        return max(0, self._catalog.last_seq() - self._applied)

    def count(self) -> int:
        return self._index.count()

    def save_if_changed(self) -> bool:
        """Write a snapshot if changes were applied since the last one."""
        with self._lock:
            if self._applied == self._saved_seq:
                return False
            self._index.save()
            self._saved_seq = self._applied
            return True

    def close(self) -> None:
        self.save_if_changed()
        self._index.close()


class IndexView(View):
    """The dense view."""

    def __init__(self, catalog: Catalog, store: VectorStore, encoder_id: str, dim: int) -> None:
        super().__init__(catalog, store, encoder_id)
        self._store = store
        self._dim = dim

    def _publish(self, change: Change) -> None:
        ids, vectors = self._catalog.vectors(change.document_id, self._dim, self._encoder_id)
        if len(ids):
            self._store.add(change.collection, ids, vectors)

    def search(self, collection: str, query: NDArray[np.float32], k: int, within: Ids | None = None) -> Found:
        """The `k` chunks of `collection` nearest to `query` (float32, shape (dim,), unit norm), of `within` only."""
        return self._find(lambda wanted: self._store.search(collection, query, wanted, within), k)


class LexicalView(View):
    """The lexical view: what the encoder reads of a chunk, by its words."""

    def __init__(self, catalog: Catalog, index: LexicalIndex, encoder_id: str) -> None:
        super().__init__(catalog, index, encoder_id)
        self._lexical = index

    def _publish(self, change: Change) -> None:
        ids, texts = chunks.texts(self._catalog.database, change.document_id, self._encoder_id)
        if len(ids):
            self._lexical.add(change.collection, ids, texts)

    def search(self, collection: str, query: str, k: int, within: Ids | None = None) -> Found:
        """The `k` chunks of `collection` that match the words of `query` best, of `within` only."""
        return self._find(lambda wanted: self._lexical.search(collection, query, wanted, within), k)
