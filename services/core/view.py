"""A vector store that follows the catalog: it applies committed changes in order and never has the last word.

Several processes may follow the same catalog. Each search first applies what was committed since, and every hit is
looked up in the catalog before it is returned, so a deleted document is gone the moment its deletion commits.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.catalog import Catalog, Change
from services.core.types import Passage
from services.core.vector_store import VectorStore

_BATCH = 200  # changes applied between two marks
_log = logging.getLogger("capstone.view")


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first, and the sequence number of the catalog state they were looked for in."""

    passages: list[Passage]
    seq: int


class IndexView:
    """Vectors of another encoder than `encoder_id` are passed over: they cannot be compared."""

    def __init__(self, catalog: Catalog, store: VectorStore, encoder_id: str, dim: int) -> None:
        self._catalog = catalog
        self._store = store
        self._encoder_id = encoder_id
        self._dim = dim
        self._lock = threading.Lock()
        self._applied = self._saved_seq = store.applied_seq()

    def catch_up(self) -> int:
        """Apply every committed change; returns the sequence number reached."""
        with self._lock:
            applied = self._store.applied_seq()
            last = self._catalog.last_seq()  # read second: what the store has applied can only be older
            if applied > last:
                _log.warning("view is ahead of its catalog; rebuilding", extra={"fields": {"seq": applied}})
                self._store.reset()
                applied = 0
            while applied < last:
                batch = self._catalog.changes_after(applied, _BATCH)
                for change in batch:
                    self._apply(change)
                applied = batch[-1].seq
                self._store.mark_applied(applied)
            self._applied = applied
            return applied

    def _apply(self, change: Change) -> None:
        if change.encoder_id != self._encoder_id:
            return
        if change.kind == "delete":
            self._store.remove(change.collection, change.chunk_ids)
            return
        ids, vectors = self._catalog.vectors(change.document_id, self._dim)
        if len(ids):  # none: a later change deletes it
            self._store.add(change.collection, ids, vectors)

    def search(self, collection: str, query: NDArray[np.float32], k: int) -> Found:
        """The `k` passages of `collection` nearest to `query` (float32, shape (dim,), unit norm)."""
        seq = self.catch_up()
        wanted = k
        while True:
            hits = self._store.search(collection, query, wanted)
            passages = self._catalog.passages(hits)
            if len(passages) >= k or len(hits) < wanted:
                return Found(passages[:k], seq)
            wanted += len(hits) - len(passages)  # some were deleted a moment ago: look past them

    def lag(self) -> int:
        """Committed sequence numbers that this view has not applied yet."""
        return max(0, self._catalog.last_seq() - self._applied)

    def count(self) -> int:
        return self._store.count()

    def save_if_changed(self) -> bool:
        """Write a snapshot if changes were applied since the last one."""
        with self._lock:
            if self._applied == self._saved_seq:
                return False
            self._store.save()
            self._saved_seq = self._applied
            return True

    def close(self) -> None:
        self.save_if_changed()
        self._store.close()
