"""The part of a catalog that both engines write: documents, page texts, index rows. One SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

POLL_S = 0.05  # how often an idle worker looks for work, in both engines
metadata = sa.MetaData()
documents = sa.Table(
    "documents", metadata, sa.Column("id", sa.Text, primary_key=True), sa.Column("page_count", sa.Integer)
)
pages = sa.Table(
    "pages",
    metadata,
    sa.Column("document_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text),
)
# No unique constraint on purpose: a document that is committed twice must show as twice the rows.
index_rows = sa.Table(
    "index_rows",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.Text, index=True),
    sa.Column("number", sa.Integer),
)


class Engine(Protocol):
    """A way to get documents processed. `read_page(document_id, number)` returns the text of one page."""

    def enqueue(self, document_id: str, page_count: int, *, parked: bool = False) -> None:
        """Commit document and job; a repeat of a committed id changes nothing. A parked job is never started."""

    def close(self) -> None: ...


ReadPage = Callable[[str, int], str]
PageDone = Callable[[str, int], None]  # called as soon as the engine holds the page's checkpoint


def open_sqlite(path: Path) -> sa.Engine:
    """SQLite as Capstone runs it: WAL, every commit fsynced, writers take the lock when they begin."""
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
