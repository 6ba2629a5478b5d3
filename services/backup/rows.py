"""Every row of a catalog from one database to another, exactly, a few at a time: SQLite or PostgreSQL, in any pairing.

JSON is copied as the text that it is: read and written again, a number could come out as another, and the JSON `null`
as SQL's NULL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, Column, Connection, MetaData, Select, Table, Text, cast, func, insert, select
from sqlalchemy.types import UserDefinedType

from services.backup.sums import Tell
from services.core.tables import counters, metadata

_BATCH = 200
# Tables whose rows a system has before anything was put in; those of the backup take their place.
_BY_ITSELF = frozenset({counters.name, "api_keys"})


class _RawJson(UserDefinedType[str]):
    """The text of a JSON value, bound as it is: the column makes JSON of it."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"


def count_rows(connection: Connection) -> dict[str, int]:
    """Of each table."""
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }


def in_use(rows: Mapping[str, int]) -> list[str]:
    """Names of the tables that hold what somebody put in."""
    return sorted(name for name, count in rows.items() if count and name not in _BY_ITSELF)


def copy_rows(source: Connection, target: Connection, tell: Tell) -> None:
    """All rows of all tables into those of `target`, in the transactions of the caller. `target` holds none but those
    that any new system has, which are replaced."""
    total, done = sum(count_rows(source).values()), 0
    for table in metadata.sorted_tables:
        if table.name in _BY_ITSELF:
            target.execute(table.delete())
        into = insert(_raw(table))
        stream = source.execution_options(stream_results=True, yield_per=_BATCH).execute(_all_of(table))
        for batch in stream.mappings().partitions():
            target.execute(into, [dict(row) for row in batch])
            done += len(batch)
            tell("catalog", done, total)


def _all_of(table: Table) -> Select[Any]:
    return select(
        *(
            cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column
            for column in table.columns
        )
    )


def _raw(table: Table) -> Table:
    """The same table, whose JSON columns take text."""
    columns: list[Column[Any]] = [
        Column(column.name, _RawJson() if isinstance(column.type, JSON) else column.type) for column in table.columns
    ]
    return Table(table.name, MetaData(), *columns)
