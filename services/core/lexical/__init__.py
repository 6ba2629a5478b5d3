"""The lexical view: the words of chunks, searched by BM25. A view of the catalog, which is the truth.

It is followed like `vector_store`: the same calls in the same order, the catalog has the last word on every hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.core.types import Hit
from services.core.vector_store.rules import Ids


class LexicalIndex(Protocol):
    """Implementation: `TantivyIndex` (in memory).

    Chunk ids are integers in [0, 2**53), unique over all collections. The statistics of one collection do not depend
    on another's. Methods may be called from several threads.
    """

    def applied_seq(self) -> int:
        """The catalog sequence number up to which everything is in; 0 for a new or lost view."""

    def add(self, collection: str, ids: Ids, texts: Sequence[str]) -> None:
        """Put rows in, `ids` (n,) and n `texts`; an id that is there already is replaced.

        Raises ValueError, before anything is changed, for ids that are repeated, out of range or not as many as texts.
        """

    def remove(self, collection: str, ids: Ids) -> None:
        """Take rows out; ids and collections that are not there are ignored. Raises ValueError if ids are no ids."""

    def search(self, collection: str, query: str, k: int, within: Ids | None = None) -> list[Hit]:
        """The `k` rows with the highest BM25 score, best first; rows that share no term with `query` are no hits.

        `within` (n,) limits the search to these ids. Equal scores are ordered by smaller id. Raises ValueError for
        k < 1 or if `within` holds no ids.
        """

    def count(self, collection: str | None = None) -> int:
        """Rows in `collection`, or in all of them."""

    def mark_applied(self, seq: int) -> None:
        """Remember that everything up to `seq` is in. Raises ValueError for a negative number."""

    def reset(self) -> None:
        """Drop every row; `applied_seq()` is 0 from here on."""

    def save(self) -> None:
        """Make what is in now survive a restart, where the implementation can."""

    def close(self) -> None:
        """Let go of memory and threads. Does not save."""
