"""The dense view: chunk vectors, searched by cosine. A view of the catalog, which is the truth.

How to follow a catalog. In each round read `applied_seq()`; for every change after it, in order, `remove` what a
delete names and `add` what a publish names; then `mark_applied` the last one. Every step may be repeated, so a crash
anywhere costs work and never rows. If `applied_seq()` is beyond the catalog's own last number (a restored backup),
`reset()` first. A search may still return a chunk that the catalog has deleted since, so look every hit up there:
of two followers of one server, the slower may put back for a while what the faster has removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.encoder import Vectors
from services.core.types import Hit

Kind = Literal["faiss", "chroma"]


class VectorStore(Protocol):
    """Implementations: `FaissStore` (in memory, exact) and `ChromaStore` (a server, approximate).

    A store is bound to one encoder and one dimension; what another encoder or dimension left in the same place is
    neither seen nor changed. Chunk ids are integers in [0, 2**53), unique over all collections. Vectors may have any
    length other than zero; an all-zero row counts as the first unit vector, as encoders return it. Methods may be
    called from several threads. A store that needs a server raises `errors.Unavailable` while it is away.
    """

    def applied_seq(self) -> int:
        """The catalog sequence number up to which everything is in; 0 for a new, lost or damaged view."""

    def add(self, collection: str, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Put rows in, `ids` (n,) and `vectors` (n, dim); an id that is there already is replaced.

        Raises ValueError, before anything is changed, for another shape or type, for ids that are repeated or out of
        range, and for vectors whose length is not finite.
        """

    def remove(self, collection: str, ids: NDArray[np.int64]) -> None:
        """Take rows out; ids and collections that are not there are ignored. Raises ValueError if ids are no ids."""

    def search(self, collection: str, query: Vectors, k: int, within: NDArray[np.int64] | None = None) -> list[Hit]:
        """The `k` rows nearest to `query` (dim,), best first, or all of them if there are fewer.

        `within` (n,) limits the search to these ids; those that are not there are ignored. Scores are rounded to
        `rules.SCORE_DECIMALS`; equal ones are ordered by smaller id. An unknown collection is an empty one. Raises
        ValueError for k < 1, another shape, a query whose length is not finite, or if `within` holds no ids.
        """

    def count(self, collection: str | None = None) -> int:
        """Rows in `collection`, or in all of them."""

    def mark_applied(self, seq: int) -> None:
        """Remember that everything up to `seq` is in. Stored as given, also when it is less than before:
        that claims less, and costs a follower repeated work only. Raises ValueError for a negative number."""

    def reset(self) -> None:
        """Drop every row and every trace on disk or server; `applied_seq()` is 0 from here on."""

    def save(self) -> None:
        """Make what is in now survive a restart, where `mark_applied` alone does not.

        Raises OSError if the disk refuses; what was saved before then stays.
        """

    def close(self) -> None:
        """Let go of memory and connections. Does not save."""


def open_store(kind: Kind, *, folder: Path, chroma_url: str | None, encoder_id: str, dim: int) -> VectorStore:
    """Open the view of `encoder_id` kept in `folder`, or on the Chroma server at `chroma_url` if one is given.

    Without a URL Chroma runs inside this process, over a folder which no second process may open. Only the library
    of `kind` is imported. Raises ValueError for a URL that is not http(s)://host[:port], `errors.Unavailable` if the
    server does not answer, OSError if `folder` cannot be made.
    """
    if kind == "faiss":
        from services.core.vector_store.faiss_store import FaissStore

        return FaissStore(folder, encoder_id, dim)
    from services.core.vector_store.chroma_store import ChromaStore, connect, open_embedded

    client = connect(chroma_url) if chroma_url else open_embedded(folder / "chroma")
    return ChromaStore(client, encoder_id, dim)
