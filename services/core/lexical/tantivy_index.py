"""Tantivy in memory: one index a collection, so that what one holds does not move the scores of another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tantivy
from tantivy import Occur, Query

from services.core.lexical.terms import terms
from services.core.types import Hit
from services.core.vector_store import rules
from services.core.vector_store.rules import Ids

_WRITER_BYTES = 15_000_000  # the least that Tantivy takes; it writes a segment whenever this is full


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", indexed=True, fast=True)
    builder.add_text_field("terms", tokenizer_name="whitespace", index_option="freq")
    return builder.build()


class TantivyIndex:
    """A `LexicalIndex` in this process's memory, empty at first: a follower fills it from the catalog's texts.

    Score: BM25 with k1 = 1.2, b = 0.75 and the idf ln(1 + (N - n + 0.5) / (n + 0.5)) (Robertson and Zaragoza 2009),
    over the terms of the query, each once. Lengths above 40 terms are rounded to about an eighth. Removed rows
    are never found, but count in N and n until their segment is merged, so the scores of two processes may differ
    slightly.
    """

    def __init__(self) -> None:
        self._schema = _schema()
        self._lock = threading.Lock()
        self._shelves: dict[str, _Shelf] = {}
        self._writing: tuple[_Shelf, tantivy.IndexWriter] | None = None  # at most one: each costs memory and a thread
        self._seq = 0

    def applied_seq(self) -> int:
        with self._lock:
            return self._seq

    def add(self, collection: str, ids: Ids, texts: Sequence[str]) -> None:
        ids = rules.checked_new_ids(ids)
        if ids.size != len(texts):
            raise ValueError(f"{ids.size} chunk ids for {len(texts)} texts")
        documents = [
            tantivy.Document(id=chunk_id, terms=" ".join(terms(text)))
            for chunk_id, text in zip(ids.tolist(), texts, strict=True)
        ]
        if not documents:
            return
        with self._lock:
            if collection not in self._shelves:
                self._shelves[collection] = _Shelf(tantivy.Index(self._schema))
            shelf = self._shelves[collection]
            writer = self._writer(shelf)
            for chunk_id in shelf.ids.intersection(ids.tolist()):
                writer.delete_documents_by_term("id", chunk_id)
            for document in documents:
                writer.add_document(document)
            shelf.ids.update(ids.tolist())

    def remove(self, collection: str, ids: Ids) -> None:
        ids = rules.checked_ids(ids)
        with self._lock:
            shelf = self._shelves.get(collection)
            if shelf is None or not (present := shelf.ids.intersection(ids.tolist())):
                return
            if present == shelf.ids:
                self._commit()
                del self._shelves[collection]
                return
            writer = self._writer(shelf)
            for chunk_id in present:
                writer.delete_documents_by_term("id", chunk_id)
            shelf.ids -= present

    def search(self, collection: str, query: str, k: int, within: Ids | None = None) -> list[Hit]:
        if k < 1:
            raise ValueError("k must be at least 1")
        if within is not None:
            within = rules.checked_ids(within)
        wanted = dict.fromkeys(terms(query))
        with self._lock:
            self._commit()
            shelf = self._shelves.get(collection)
            if shelf is None or not wanted or (within is not None and not within.size):
                return []
            searcher = shelf.index.searcher()
            parsed = self._parsed(list(wanted), within)

            def fetch(count: int) -> tuple[Ids, np.ndarray]:
                hits = searcher.search(parsed, count, count=False).hits
                ids = searcher.fast_field_values("id", [address for _, address in hits])
                return np.array(ids, np.int64), np.array([score for score, _ in hits], np.float32)

            return rules.nearest(fetch, k, highest=np.inf)

    def count(self, collection: str | None = None) -> int:
        with self._lock:
            return sum(len(shelf.ids) for name, shelf in self._shelves.items() if collection in (None, name))

    def mark_applied(self, seq: int) -> None:
        with self._lock:
            self._seq = rules.checked_seq(seq)

    def reset(self) -> None:
        with self._lock:
            self._commit()
            self._shelves.clear()
            self._seq = 0

    def save(self) -> None:
        """Nothing to do: it is filled again at the next start, at some tens of thousands of chunks a second."""

    def close(self) -> None:
        self.reset()

    def _parsed(self, wanted: list[str], within: Ids | None) -> Query:
        any_term = Query.boolean_query(
            [(Occur.Should, Query.term_query(self._schema, "terms", term, "freq")) for term in wanted]
        )
        if within is None:
            return any_term
        one_of = Query.term_set_query(self._schema, "id", within.tolist())
        return Query.boolean_query([(Occur.Must, any_term), (Occur.Must, Query.const_score_query(one_of, 0.0))])

    def _writer(self, shelf: _Shelf) -> tantivy.IndexWriter:
        """The open writer of `shelf`; what it is given is found after the next `_commit`."""
        if self._writing is None or self._writing[0] is not shelf:
            self._commit()
            self._writing = shelf, shelf.index.writer(_WRITER_BYTES, 1)
        return self._writing[1]

    def _commit(self) -> None:
        if self._writing is not None:
            shelf, writer = self._writing
            self._writing = None
            writer.commit()
            writer.wait_merging_threads()
            shelf.index.reload()


@dataclass
class _Shelf:
    """The rows of one collection; `ids` also holds those that are not committed yet."""

    index: tantivy.Index
    ids: set[int] = field(default_factory=set)
