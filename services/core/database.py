"""One SQL database, SQLite or PostgreSQL, with the same guarantees: read and write transactions, and migrations."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from services.core.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

_BUSY_TIMEOUT_S = 60
_MIGRATION_LOCK = 0x43415053  # any number, the same in every process


class Database:
    """`url` is a SQLAlchemy URL. SQLite runs in WAL mode with `synchronous=FULL`: a commit survives power loss."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError("the catalog needs a SQLite file: an in-memory database is not shared or durable")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(parsed, connect_args={"timeout": _BUSY_TIMEOUT_S})
            _prepare_sqlite(self.engine)
        else:
            self.engine = create_engine(parsed, pool_pre_ping=True)
        self._writer = self.engine.execution_options(capstone_write=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: commits on success, rolls back on any exception.

        On SQLite it takes the write lock at once, so that a later statement cannot fail with SQLITE_BUSY.
        """
        with self._writer.begin() as connection:
            yield connection

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch by the one clock that all users of the database share."""
        if self.is_sqlite:
            return time.time()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def migrate(self) -> None:
        """Bring the schema to the newest revision. Safe to call from several processes at once."""
        from alembic import command

        config = _migrations()
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A read transaction whose every statement sees the same state, however long it lasts; nobody waits for it."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                connection.execute(text("SELECT count(*) FROM alembic_version"))  # the state is that of the first read
                yield connection

    def check(self) -> None:
        """Raises Unavailable when the database does not answer."""
        try:
            with self.read() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise Unavailable("The catalog database does not answer.", retry_after_s=5) from error

    def close(self) -> None:
        self.engine.dispose()


def revision_of(connection: Connection) -> str | None:
    """The revision of the schema that is there; None if there is none."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> list[str]:
    """The revisions that this code knows, newest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions()]


def _migrations() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _prepare_sqlite(engine: Engine) -> None:
    """Take transaction control from the driver, which would begin too late for a consistent read-then-write."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("capstone_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Two connections that switch a new file at once do not wait for each other as they do elsewhere: try again."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
