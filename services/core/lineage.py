"""What was answered and classified, by the lineage id that went out with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete, insert, select

from services.core.database import Database
from services.core.errors import NotFound
from services.core.keys import Caller
from services.core.tables import answers, classifications, new_id

Kind = Literal["answer", "classification"]
_TABLES: dict[Kind, Any] = {"answer": answers, "classification": classifications}


@dataclass(frozen=True, slots=True)
class Logged:
    """`created_at` is in seconds since the epoch; `body` is what was logged, and its `lineage` what it came from."""

    kind: Kind
    created_at: float
    body: dict[str, Any]


def logged(database: Database, lineage_id: str, caller: Caller | None = None) -> Logged:
    """Raises NotFound if nothing went out under that id, or it is no longer kept, or it is none of that caller's.

    An answer is of its collection. A classification is of none: a key that is limited to some sees its own.
    """
    with database.read() as connection:
        for kind, table in _TABLES.items():
            row = connection.execute(select(table).where(table.c.id == lineage_id)).first()
            if row is not None and _seen(kind, row, caller):
                return Logged(kind, row.created_at, dict(row.body))
    raise NotFound(f"There is no lineage {lineage_id!r}, or it is no longer kept.")


def _seen(kind: Kind, row: Any, caller: Caller | None) -> bool:
    if caller is None or caller.collections is None:
        return True
    return row.collection in caller.collections if kind == "answer" else row.body.get("key") == caller.key


class ClassificationLog:
    """The newest `max_rows` classifications; with 0 none.

    The texts are kept as well, for a replay, unless those of one request have more than `max_chars` characters. So it
    holds at most `max_rows * max_chars` characters, and the results.
    """

    def __init__(self, database: Database, max_rows: int, max_chars: int) -> None:
        self._database = database
        self._max_rows = max_rows
        self._max_chars = max_chars

    def save(self, body: dict[str, Any], inputs: list[dict[str, str | None]]) -> None:
        """Log `body`, which has `id`, `model`, `results`, `lineage` and `key`, with the texts that it is about."""
        if self._max_rows == 0:
            return
        chars = sum(len(text) for item in inputs for text in item.values() if text)
        kept = inputs if chars <= self._max_chars else None
        oldest = select(classifications.c.id).order_by(classifications.c.id.desc()).offset(self._max_rows).limit(1)
        with self._database.write() as connection:
            now = self._database.now(connection)
            row = {"id": body["id"], "created_at": now, "body": body | {"inputs": kept}}
            connection.execute(insert(classifications).values(row))
            connection.execute(delete(classifications).where(classifications.c.id <= oldest.scalar_subquery()))


def new_classification_id() -> str:
    return new_id("cls")
