"""The log of changes that views follow: what was published and deleted, in the order in which it became visible.

Whatever is published or deleted gets the next sequence number in the same transaction. The counter row stays locked
until that transaction ends, so numbers become visible in their order: a view that has applied n has missed nothing.
A document is published once more when another encoder has embedded it: with the same chunks, so the same
`document_seq`. Functions take the connection of the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select, update

from services.core import codec
from services.core.tables import changes, counters

_SEQ = counters.c.name == "seq"


@dataclass(frozen=True, slots=True)
class Change:
    seq: int
    kind: str  # publish | delete
    collection: str
    document_id: str
    document_seq: int  # of its first publish, which numbered its chunks
    chunk_count: int
    encoder_id: str

    @property
    def chunk_ids(self) -> NDArray[np.int64]:
        return codec.chunk_ids(self.document_seq, self.chunk_count)


_FIELDS = tuple(changes.c[name] for name in Change.__dataclass_fields__)


def next_seq(connection: Connection) -> int:
    """The next sequence number. Locks the counter until the caller's transaction ends."""
    bump = update(counters).where(_SEQ).values(value=counters.c.value + 1)
    return int(connection.execute(bump.returning(counters.c.value)).scalar_one())


def hold(connection: Connection) -> None:
    """Let nothing be published or deleted until the caller's transaction ends; takes no number."""
    connection.execute(select(counters.c.value).where(_SEQ).with_for_update())


def log_change(
    connection: Connection, seq: int, kind: str, document: Any, document_seq: int, count: int, encoder_id: str
) -> None:
    """`document` is a row with its id and collection."""
    connection.execute(
        insert(changes).values(
            seq=seq,
            kind=kind,
            collection=document.collection,
            document_id=document.id,
            document_seq=document_seq,
            chunk_count=count,
            encoder_id=encoder_id,
        )
    )


def last_publish(connection: Connection, document_id: str) -> Change | None:
    """How the document stands in the indexes; None if it was never published."""
    of_it = (changes.c.document_id == document_id) & (changes.c.kind == "publish")
    row = connection.execute(select(*_FIELDS).where(of_it).order_by(changes.c.seq.desc()).limit(1)).first()
    return Change(**row._mapping) if row else None


def changes_after(connection: Connection, seq: int, limit: int) -> list[Change]:
    query = select(*_FIELDS).where(changes.c.seq > seq).order_by(changes.c.seq).limit(limit)
    return [Change(**row._mapping) for row in connection.execute(query)]
