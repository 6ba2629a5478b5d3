"""Versions of `capstone` in the tables that MLflow keeps them in, without importing MLflow, which takes seconds.

Only what `SqlAliases` reads; the contract test holds that against what a real MLflow writes.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from services.core.aliases import MODEL
from services.core.release import read_release

_TABLES = """
CREATE TABLE model_versions (name TEXT, version INTEGER, source TEXT, current_stage TEXT);
CREATE TABLE model_version_tags (name TEXT, version INTEGER, key TEXT, value TEXT);
CREATE TABLE registered_model_aliases (name TEXT, alias TEXT, version INTEGER, PRIMARY KEY (name, alias));
"""


class PlantedRegistry:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._count = 0
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(_TABLES)

    @property
    def uri(self) -> str:
        return f"sqlite:///{self._file}"

    def add(self, folder: Path) -> str:
        """Register the release in `folder`; returns the number of the version."""
        self._count += 1
        tag = (MODEL, self._count, "release", read_release(folder).id)
        self._write("INSERT INTO model_versions VALUES (?, ?, ?, 'None')", (MODEL, self._count, folder.as_uri()))
        self._write("INSERT INTO model_version_tags VALUES (?, ?, ?, ?)", tag)
        return str(self._count)

    def point(self, alias: str, version: str) -> None:
        self._write("INSERT OR REPLACE INTO registered_model_aliases VALUES (?, ?, ?)", (MODEL, alias, int(version)))

    def unpoint(self, alias: str) -> None:
        self._write("DELETE FROM registered_model_aliases WHERE alias = ?", (alias,))

    def break_down(self) -> None:
        """Nothing can be read until `repair`."""
        self._file.rename(self._file.with_suffix(".kept"))
        self._file.write_bytes(b"no database " * 100)

    def repair(self) -> None:
        self._file.with_suffix(".kept").replace(self._file)

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute(statement, values)
