"""FAISS in memory: exact search, one flat index a collection, one snapshot file for all of them.

The snapshot holds plain ids and float32 rows rather than FAISS's own format. A flat index is nothing more, so loading
is as quick; every byte and length can be checked before use; and FAISS's C++ reader, which takes some changed files
for good ones, never sees bytes from a disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from services.core.encoder import Vectors
from services.core.snapshot import DamagedSnapshot, delete_snapshot, read_snapshot, write_snapshot
from services.core.types import Hit
from services.core.vector_store import rules
from services.core.vector_store.rules import Ids

_FORMAT = 1
log = logging.getLogger(__name__)


class FaissStore:
    """A `VectorStore` in this process's memory: 4 * dim bytes a row, and twice that for a moment while it is saved.

    Several processes may share `folder`: each holds its own copy, and of their snapshots the one furthest on stays.
    A snapshot that is damaged is left for the next `save` to replace, and the store starts empty. FAISS's thread
    count is left to the process.
    """

    def __init__(self, folder: Path, encoder_id: str, dim: int) -> None:
        self._encoder_id = encoder_id
        self._dim = dim
        self._path = folder / f"vectors-{rules.namespace(encoder_id, dim)}.snapshot"
        # FAISS must not search what is being changed. One lock for all: a search takes milliseconds.
        self._lock = threading.Lock()
        self._shelves: dict[str, _Shelf] = {}
        self._seq = 0
        self._changed = False
        self._load()

    def applied_seq(self) -> int:
        with self._lock:
            return self._seq

    def add(self, collection: str, ids: Ids, vectors: Vectors) -> None:
        ids, rows = rules.checked_rows(ids, vectors, self._dim)
        if not ids.size:
            return
        with self._lock:
            self._shelves.setdefault(collection, _Shelf(self._dim)).put(ids, rows)
            self._changed = True

    def remove(self, collection: str, ids: Ids) -> None:
        ids = rules.checked_ids(ids)
        with self._lock:
            shelf = self._shelves.get(collection)
            if shelf is None:
                return
            shelf.take(ids)
            if not shelf.ids:
                del self._shelves[collection]
            self._changed = True

    def search(self, collection: str, query: Vectors, k: int, within: Ids | None = None) -> list[Hit]:
        row = rules.checked_query(query, k, self._dim)
        only = None if within is None else rules.checked_ids(within)
        with self._lock:
            shelf = self._shelves.get(collection)
            return rules.nearest(lambda wanted: shelf.find(row, wanted, only), k) if shelf else []

    def count(self, collection: str | None = None) -> int:
        with self._lock:
            return sum(len(shelf.ids) for name, shelf in self._shelves.items() if collection in (None, name))

    def mark_applied(self, seq: int) -> None:
        with self._lock:
            self._changed |= seq != self._seq
            self._seq = rules.checked_seq(seq)

    def reset(self) -> None:
        with self._lock:
            self._shelves.clear()
            self._seq = 0
            self._changed = False
            delete_snapshot(self._path)

    def save(self) -> None:
        """Write a snapshot if anything changed since the last one. Searches go on while the disk works."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            seq = self._seq
            copies = {name: shelf.copy() for name, shelf in self._shelves.items()}
        meta = {
            "format": _FORMAT,
            "encoder_id": self._encoder_id,
            "dim": self._dim,
            "collections": [{"name": name, "rows": ids.size} for name, (ids, _) in copies.items()],
        }
        parts = [array.reshape(-1).view(np.uint8).data for pair in copies.values() for array in pair]
        try:
            write_snapshot(self._path, seq=seq, meta=meta, parts=parts)
        except OSError:
            with self._lock:
                self._changed = True
            raise

    def close(self) -> None:
        with self._lock:
            self._shelves.clear()
            self._seq = 0
            self._changed = False

    def _load(self) -> None:
        try:
            header, payload = read_snapshot(self._path)
            shelves = self._decode(header.meta, payload)
        except FileNotFoundError:
            return
        except (DamagedSnapshot, OSError) as problem:
            log.warning("%s is not used, the view will be rebuilt from the catalog: %s", self._path.name, problem)
            return
        self._shelves, self._seq = shelves, header.seq

    def _decode(self, meta: Mapping[str, Any], payload: bytearray) -> dict[str, _Shelf]:
        if (meta.get("format"), meta.get("encoder_id"), meta.get("dim")) != (_FORMAT, self._encoder_id, self._dim):
            raise DamagedSnapshot("it was made by another version or another encoder")
        if sum(entry["rows"] for entry in meta["collections"]) * (8 + 4 * self._dim) != len(payload):
            raise DamagedSnapshot("its rows do not fill it")
        shelves = {}
        start = 0
        for entry in meta["collections"]:
            rows = entry["rows"]
            ids = np.frombuffer(payload, "<i8", rows, start).copy()  # may start at half a word
            vectors = np.frombuffer(payload, "<f4", rows * self._dim, start + ids.nbytes).reshape(rows, self._dim)
            start += ids.nbytes + vectors.nbytes
            shelves[entry["name"]] = shelf = _Shelf(self._dim)
            shelf.put(ids, vectors)
        return shelves


class _Shelf:
    """The rows of one collection. Knows nothing of locks or of what is a valid row."""

    def __init__(self, dim: int) -> None:
        self._flat = faiss.IndexFlatIP(dim)
        self._index = faiss.IndexIDMap2(self._flat)
        self.ids: set[int] = set()  # remove_ids walks all rows, so it must be known when there is nothing to remove

    def put(self, ids: Ids, rows: Vectors) -> None:
        self.take(ids)
        self._index.add_with_ids(rows, ids)
        self.ids.update(ids.tolist())

    def take(self, ids: Ids) -> None:
        present = self.ids.intersection(ids.tolist())
        if present:
            self._index.remove_ids(faiss.IDSelectorBatch(np.fromiter(present, np.int64, len(present))))
            self.ids -= present

    def find(self, row: Vectors, wanted: int, only: Ids | None) -> tuple[Ids, Vectors]:
        wanted = min(wanted, len(self.ids))
        if only is None:
            scores, ids = self._index.search(row, wanted)
        else:
            among = faiss.SearchParameters(sel=faiss.IDSelectorBatch(only))  # type: ignore[call-arg]  # made by SWIG
            scores, ids = self._index.search(row, wanted, params=among)
        there = ids[0] >= 0  # where too few rows are left, FAISS fills up with -1
        return ids[0][there], scores[0][there]

    def copy(self) -> tuple[Ids, Vectors]:
        """Ids (n,) and rows (n, dim), little-endian, owned by the caller."""
        rows = self._flat.reconstruct_n(0, self._flat.ntotal)
        return faiss.vector_to_array(self._index.id_map).astype("<i8"), np.ascontiguousarray(rows, "<f4")
