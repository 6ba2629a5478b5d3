"""What holds for every store: which input is accepted, and in which order hits come back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.core.encoder import Vectors, unit_rows
from services.core.types import Hit

MAX_ID = 2**53  # exclusive: ids pass through JSON, whose numbers are doubles
# The last bits of a float32 dot product depend on where a row lies in memory. Equal texts must tie all the same, and
# every process must order them alike, so these bits are rounded away.
SCORE_DECIMALS = 6
_TIE_MARGIN = 16  # rows asked for beyond k, to see at once whether the k-th place is shared

Ids = NDArray[np.int64]
Fetch = Callable[[int], tuple[Ids, NDArray[np.float32]]]


def namespace(encoder_id: str, dim: int) -> str:
    """A short name, safe in files and URLs, that differs between encoders and between dimensions."""
    return hashlib.sha256(f"{dim}\n{encoder_id}".encode()).hexdigest()[:16]


def checked_ids(ids: Ids) -> Ids:
    """`ids` as a contiguous int64 array of shape (n,); ValueError if it is not one."""
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"chunk ids must be integers of shape (n,), not {array.dtype} of shape {array.shape}")
    return np.ascontiguousarray(array, np.int64)


def checked_new_ids(ids: Ids) -> Ids:
    """Ids (n,) that rows may be stored under; ValueError otherwise."""
    ids = checked_ids(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= MAX_ID):
        raise ValueError(f"chunk ids must be in [0, {MAX_ID})")
    if np.unique(ids).size != ids.size:
        raise ValueError("chunk ids must not be repeated within a call")
    return ids


def checked_rows(ids: Ids, vectors: Vectors, dim: int) -> tuple[Ids, Vectors]:
    """Ids (n,) and unit vectors (n, dim) that may be stored as they are; ValueError otherwise."""
    ids = checked_new_ids(ids)
    return ids, _checked_vectors(vectors, (ids.size, dim))


def checked_query(query: Vectors, k: int, dim: int) -> Vectors:
    """The query as one unit row (1, dim); ValueError for anything else, or for k < 1."""
    if k < 1:
        raise ValueError("k must be at least 1")
    if np.shape(query) != (dim,):
        raise ValueError(f"the query has shape {np.shape(query)}, not ({dim},)")
    return _checked_vectors(np.asarray(query)[None, :], (1, dim))


def checked_seq(seq: int) -> int:
    if seq < 0:
        raise ValueError("a sequence number is not negative")
    return int(seq)


def _checked_vectors(vectors: Vectors, shape: tuple[int, int]) -> Vectors:
    array = np.asarray(vectors)
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(f"vectors must be floats of shape {shape}, not {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
        lengths = np.linalg.norm(array, axis=1)
    if not np.isfinite(lengths).all():
        raise ValueError("a vector holds NaN or infinity, or is too long to be measured in float32")
    return unit_rows(array)


def nearest(fetch: Fetch, k: int, highest: float = 1.0) -> list[Hit]:
    """The best `k` of what `fetch(n)` returns, ties by smaller id; scores are in [-1, highest].

    `fetch` gives ids and scores of the n best rows, best first, fewer than n only if there are no more. Which of
    several equal rows an index returns is arbitrary, so while the k-th place is shared with the last row fetched,
    more are fetched.
    """
    wanted = k + _TIE_MARGIN
    while True:
        ids, raw = fetch(wanted)
        scores = np.clip(np.round(raw.astype(np.float64), SCORE_DECIMALS), -1.0, highest)
        if ids.size < wanted or scores[k - 1] > scores[-1]:
            order = np.lexsort((ids, -scores))[:k]
            return [Hit(int(ids[row]), float(scores[row])) for row in order]
        wanted *= 4
