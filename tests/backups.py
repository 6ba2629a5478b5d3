"""Systems to back up and to restore into, without a service: a catalog, files, and a backup that breaks off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Integer, LargeBinary, Text, cast, insert, select

from services.backup.sums import Tell
from services.core.catalog import Catalog, Document
from services.core.database import Database
from services.core.settings import Settings
from services.core.tables import counters, metadata
from tests import samples
from tests.server import ROOT

BREAKS_OFF = """
import os, signal, sys
from pathlib import Path
from services.backup.make import back_up
from services.backup.restore import restore
from services.core.settings import load_settings
what, place, step = sys.argv[1:]
def tell(doing, done, total):
    if doing == step:
        os.kill(os.getpid(), signal.SIGKILL)
{"backup": back_up, "restore": restore}[what](load_settings(), Path(place), tell)
"""


def settings_of(data_dir: Path, database_url: str | None = None) -> Settings:
    """Without an MLflow server."""
    return Settings(data_dir=data_dir, database_url=database_url, promotion_timeout_s=60)


def opened(settings: Settings) -> Catalog:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    return catalog


def put(settings: Settings, catalog: Catalog, text: str, **how: Any) -> Document:
    """A published document, whose file is `text`."""
    document = samples.publish(catalog, text, **how)
    settings.files_dir.mkdir(parents=True, exist_ok=True)
    (settings.files_dir / f"{document.id}.pdf").write_text(text)
    return document


def take_away(settings: Settings, catalog: Catalog, document_id: str) -> None:
    """As the route does it: the catalog first."""
    catalog.delete_document(document_id)
    (settings.files_dir / f"{document_id}.pdf").unlink()


def fill(database: Database) -> None:
    """Three rows in every table that documents do not fill, with values that are easily changed on the way."""
    filled = {"counters", "documents", "pages", "chunks", "changes", "jobs", "checkpoints"}
    with database.write() as connection:
        for table in metadata.sorted_tables:
            if table.name not in filled:
                for number in range(1, 4):
                    values = {column.name: _odd(column, number) for column in table.columns}
                    connection.execute(insert(table).values(values))


def rows_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the catalog but its counters; JSON as the text that is stored."""
    with database.read() as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(select(*map(_exact, table.columns)))), key=repr
            )
            for table in metadata.sorted_tables
            if table is not counters
        }


def killed(settings: Settings, what: str, place: Path, step: str) -> None:
    """Run `backup` or `restore` in a process that is killed, as by kill -9, at its first `step`."""
    env = {"CAPSTONE_DATA_DIR": str(settings.data_dir), "PYTHONPATH": str(ROOT), "PATH": ""}
    if settings.database_url:
        env["CAPSTONE_DATABASE_URL"] = settings.database_url
    done = subprocess.run([sys.executable, "-c", BREAKS_OFF, what, str(place), step], env=env, cwd=ROOT, check=False)
    assert done.returncode == -9, done.returncode


def quiet(_what: str, _done: int, _total: int | None) -> None:
    """For who does not want to know."""


def at(step: str, act: Callable[[], None]) -> Tell:
    """Does something at the first `step`, and nothing afterwards."""
    left = [act]

    def tell(what: str, _done: int, _total: int | None) -> None:
        if what == step and left:
            left.pop()()

    return tell


def _exact(column: Column[Any]) -> Any:
    return cast(column, Text) if isinstance(column.type, JSON) else column


def _odd(column: Column[Any], number: int) -> Any:
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return _odd(key.column, number)
    if column.nullable and number == 2:
        return None  # for JSON that is SQL's NULL or JSON's null, as the column says
    kind = column.type
    if isinstance(kind, JSON):
        return {"text": "für \u2028 'später' \\ \"", "n": [1, 1.0, 1e300, 0.1 + 0.2, -0.0, None, True, 2**53 + number]}
    if isinstance(kind, LargeBinary):
        return bytes(range(256)) * number
    if isinstance(kind, Boolean):
        return number == 1
    if isinstance(kind, BigInteger):
        return 2**53 + number
    if isinstance(kind, Integer):
        return number
    if isinstance(kind, Double):
        return 1_700_000_000.0 + number / 3
    return f"{column.name[:2]}’\t%s{number}"  # of the narrowest column's width
