"""How values become bytes in the catalog, and how chunk ids are built."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.core.types import Box, Word

_WORD = np.dtype([("start", "<i4"), ("end", "<i4"), ("box", "<f4", (4,))])
_ORDINAL_BITS = 20  # up to a million chunks a document; ids stay below 2**53, exact in JSON


def pack_words(words: Sequence[Word]) -> bytes:
    """Words as compressed records of two int32 and four float32 (points)."""
    table = np.empty(len(words), _WORD)
    for record, word in zip(table, words, strict=True):
        record["start"], record["end"], record["box"] = word
    return zlib.compress(table.tobytes(), 6)


def unpack_words(payload: bytes) -> tuple[Word, ...]:
    table = np.frombuffer(zlib.decompress(payload), _WORD)
    boxes = table["box"].astype(float).round(2).tolist()
    return tuple(
        Word(start, end, Box(*box))
        for start, end, box in zip(table["start"].tolist(), table["end"].tolist(), boxes, strict=True)
    )


def pack_vectors(vectors: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(vectors, "<f4").tobytes()


def unpack_vectors(payload: bytes, dim: int) -> NDArray[np.float32]:
    """Float32 array of shape (rows, dim)."""
    return np.frombuffer(payload, "<f4").reshape(-1, dim).astype(np.float32, copy=False)


def chunk_ids(document_seq: int, count: int) -> NDArray[np.int64]:
    """Ids of the `count` chunks of the document published as `document_seq`: unique over the whole catalog."""
    if count >= 1 << _ORDINAL_BITS:
        raise ValueError(f"{count} chunks in one document; at most {(1 << _ORDINAL_BITS) - 1} can be numbered")
    return (document_seq << _ORDINAL_BITS) + np.arange(count, dtype=np.int64)
