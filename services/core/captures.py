"""What was asked and how it was answered, in figures, without a word of either. Written by the api service, read by
whoever looks for drift.

Rows are numbered without a gap and in the order in which they can be seen, so that a window of so many rows after
another is the same whenever it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, insert, select, update

from services.core.database import Database
from services.core.tables import captures, counters

NO_RELEASE = "none"  # the bases alone
_COUNTER = "captures"
# Of the question: characters, words, and the share of the characters that are letters, marks or white space. Of the
# passages: the best cosine and the best sufficiency, 0 where none was found. Of the answer: the rest.
FIGURES = (
    "question_chars",
    "question_words",
    "question_letters",
    "top_score",
    "top_sufficiency",
    "answerability",
    "generated",
    "abstained",
    "citations",
    "latency_ms",
)


class Kind(NamedTuple):
    """Captures of one kind can be compared: the same release answered, and vectors of the same encoder."""

    release: str
    encoder: str


@dataclass(frozen=True, slots=True)
class Capture:
    """`vector` is the question's, float32 of length 1; `figures` has a value for each of FIGURES."""

    kind: Kind
    collection: str
    created_at: float
    vector: NDArray[np.float32]
    figures: dict[str, float]


@dataclass(frozen=True)
class Rows:
    """Captures of one kind, in their order: vectors of shape (n, dim), and n values of each of FIGURES."""

    kind: Kind
    first_seq: int
    last_seq: int
    vectors: NDArray[np.float32]
    figures: dict[str, list[float]]

    def __len__(self) -> int:
        return len(self.vectors)


class CaptureLog:
    """The newest `max_rows` captures. Methods block."""

    def __init__(self, database: Database, max_rows: int) -> None:
        self._db = database
        self._max_rows = max_rows

    def save(self, rows: Sequence[Capture]) -> None:
        """All of them or none."""
        with self._db.write() as connection:
            bump = update(counters).where(counters.c.name == _COUNTER).values(value=counters.c.value + len(rows))
            last = int(connection.execute(bump.returning(counters.c.value)).scalar_one())
            connection.execute(insert(captures), [_row(seq, row) for seq, row in enumerate(rows, last - len(rows) + 1)])
            connection.execute(delete(captures).where(captures.c.seq <= last - self._max_rows))


def stand_still(connection: Connection) -> None:
    """Let nobody number captures, nor stand here too, until the caller's transaction ends. On SQLite a write
    transaction is that already."""
    connection.execute(select(counters.c.value).where(counters.c.name == _COUNTER).with_for_update())


def newest_kind(connection: Connection) -> Kind | None:
    """Of the newest capture; None if nothing is captured."""
    query = select(captures.c.release, captures.c.encoder).order_by(captures.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Kind(row.release, row.encoder)


def count_after(connection: Connection, kind: Kind, seq: int) -> int:
    query = select(func.count()).select_from(captures).where(*_of(kind), captures.c.seq > seq)
    return int(connection.execute(query).scalar_one())


def seqs_after(connection: Connection, kind: Kind, seq: int, limit: int) -> list[int]:
    """Numbers of the first rows after `seq`."""
    query = select(captures.c.seq).where(*_of(kind), captures.c.seq > seq).order_by(captures.c.seq).limit(limit)
    return list(connection.execute(query).scalars())


def newest_seqs(connection: Connection, kind: Kind, after: int, limit: int) -> list[int]:
    """Numbers of the newest rows after `after`, ascending."""
    query = select(captures.c.seq).where(*_of(kind), captures.c.seq > after)
    return sorted(connection.execute(query.order_by(captures.c.seq.desc()).limit(limit)).scalars())


def rows_between(connection: Connection, kind: Kind, first_seq: int, last_seq: int) -> Rows:
    """Those that are still kept, both ends included; there may be none."""
    query = select(captures.c.vector, captures.c.figures).where(
        *_of(kind), captures.c.seq >= first_seq, captures.c.seq <= last_seq
    )
    found = connection.execute(query.order_by(captures.c.seq)).all()
    vectors = [np.frombuffer(row.vector, "<f4") for row in found]
    return Rows(
        kind,
        first_seq,
        last_seq,
        np.stack(vectors) if vectors else np.empty((0, 0), np.float32),
        {name: [row.figures[name] for row in found] for name in FIGURES},
    )


def _of(kind: Kind) -> tuple[Any, Any]:
    return captures.c.release == kind.release, captures.c.encoder == kind.encoder


def _row(seq: int, capture: Capture) -> dict[str, Any]:
    return {
        "seq": seq,
        "created_at": capture.created_at,
        "release": capture.kind.release,
        "encoder": capture.kind.encoder,
        "collection": capture.collection,
        "vector": np.asarray(capture.vector, "<f4").tobytes(),
        "figures": capture.figures,
    }
