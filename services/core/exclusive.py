"""A lock that belongs to a catalog: whoever uses the same database excludes each other, on whatever machine."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from services.core.database import Database

RELEASES = "releases"  # held by whoever changes which release is live, and by a backup while it looks at that


@contextmanager
def exclusive(database: Database, name: str) -> Iterator[bool]:
    """Hold the lock `name`; yields False, at once and without it, if somebody else does.

    It goes with the process that holds it, however that ends: the kernel frees a file's lock (SQLite: a file beside
    the catalog), and PostgreSQL those of a connection that is gone.
    """
    if database.is_sqlite:
        assert database.engine.url.database is not None
        with Path(f"{database.engine.url.database}.{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        return
    key = {"key": int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)}
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        held = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar_one())
        try:
            yield held
        finally:
            if held:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
