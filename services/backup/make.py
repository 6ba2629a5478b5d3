"""A running system -> a backup of one moment of it. Nobody waits for it, but who wants to promote a release then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, select

from services.backup.form import CATALOG, FILES, FORMAT, REGISTRY, VERSIONS, Facts, file_name
from services.backup.registry import ReleaseCopy
from services.backup.rows import copy_rows, count_rows
from services.backup.sums import Tell, copy, new_folder, seal
from services.core.catalog import Catalog
from services.core.database import known_revisions, revision_of
from services.core.errors import CannotBackUp, NotFound, ReleaseInProgress
from services.core.exclusive import RELEASES, exclusive
from services.core.settings import Settings
from services.core.tables import documents
from services.core.version import git_commit, version

_LOOK_EVERY_S = 0.2


def back_up(settings: Settings, place: Path, tell: Tell, *, registry: bool = True) -> Facts:
    """Write the backup `place`, a new folder, which is there as a whole or not at all.

    Raises CannotBackUp if `place` is there, there is no catalog, its schema is another version's, or a document's file
    is not what was uploaded; ReleaseInProgress if a promotion takes too long, Unavailable if the registry does not
    answer; OSError if the disk refuses.
    """
    with closing(_open(settings)) as catalog, new_folder(place) as folder:
        releases = ReleaseCopy(settings, lambda: tell("releases", 0, None)) if registry else None
        with _moment(settings, catalog, releases) as (connection, listed):
            revision = _require_usable(catalog, connection)
            _write_rows(connection, folder / CATALOG, tell)
        with closing(Catalog(_sqlite(folder / CATALOG))) as kept:
            deleted = _copy_files(settings, catalog, kept, folder / FILES, tell)
            with kept.database.read() as connection:
                rows = count_rows(connection)
            _make_one_file(kept)
        if releases is not None:
            (folder / REGISTRY).mkdir()
            (folder / VERSIONS).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
            releases.fetch(listed, folder / REGISTRY)
            tell("releases", len(listed["versions"]), len(listed["versions"]))
        facts = Facts(
            format=FORMAT,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=version(),
            git_commit=git_commit(),
            revision=revision,
            rows=rows,
            documents=rows[documents.name],
            deleted=deleted,
            releases=len(listed["versions"]) if registry else None,
            aliases={name: str(number) for name, number in listed["aliases"].items()},
        )
        facts.write(folder)
        seal(folder)
    return facts


def _open(settings: Settings) -> Catalog:
    """The catalog, as it is: not made, and not migrated."""
    if settings.database_url is None and not (settings.data_dir / "catalog.db").exists():
        raise CannotBackUp(f"There is no catalog in {settings.data_dir}.")
    catalog = Catalog(settings.catalog_url)
    catalog.database.check()
    with catalog.database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            raise CannotBackUp("There is no catalog in the database: nothing has ever been started on it.")
    return catalog


@contextmanager
def _moment(
    settings: Settings, catalog: Catalog, releases: ReleaseCopy | None
) -> Iterator[tuple[Connection, Mapping[str, Any]]]:
    """The catalog, and what the registry holds, of one moment: in between no release can be promoted or rolled back."""
    with _locked(settings, catalog) as lock, catalog.database.snapshot() as connection:
        listed = releases.listed() if releases else {"aliases": {}, "versions": []}
        lock.close()
        yield connection, listed


def _locked(settings: Settings, catalog: Catalog) -> ExitStack:
    """Wait for the promotion that is under way, if one is, and keep others from beginning until this is closed."""
    give_up_at = time.monotonic() + settings.promotion_timeout_s
    while True:
        with ExitStack() as stack:
            if stack.enter_context(exclusive(catalog.database, RELEASES)):
                return stack.pop_all()
        if time.monotonic() > give_up_at:
            raise ReleaseInProgress("Another promotion or rollback is under way. Try again.")
        time.sleep(_LOOK_EVERY_S)


def _require_usable(catalog: Catalog, connection: Connection) -> str:
    """The revision of the schema. Raises CannotBackUp for one of another version, and RestoreUnfinished."""
    revision, newest = revision_of(connection), known_revisions()[0]
    if revision is None or revision != newest:
        raise CannotBackUp(
            f"The catalog's schema is of revision {revision}, and this version's is {newest}. "
            "Make the backup with the version that serves."
        )
    catalog.require_whole()
    return revision


def _write_rows(source: Connection, file: Path, tell: Tell) -> None:
    with closing(Catalog(_sqlite(file))) as kept:
        kept.database.migrate()
        with kept.database.write() as target:
            copy_rows(source, target, tell)


def _copy_files(settings: Settings, live: Catalog, kept: Catalog, to: Path, tell: Tell) -> list[str]:
    """Copy the file of each document in `kept`; those that were deleted meanwhile are deleted from it as well, by the
    same code, so that it is a state like any other. Returns their ids."""
    to.mkdir()
    query = select(documents.c.id, documents.c.name, documents.c.sha256, documents.c.bytes).order_by(documents.c.id)
    with kept.database.read() as connection:
        rows = connection.execute(query).all()
    done, total, deleted = 0, sum(row.bytes for row in rows), []
    for row in rows:
        source = settings.files_dir / file_name(row.id)
        try:
            copied = copy(source, to / file_name(row.id))
        except FileNotFoundError:
            if _is_there(live, row.id):  # a delete commits first, and removes the file then
                raise CannotBackUp(
                    f"The file of {row.name!r} is missing: {source}. Put it back, or delete the document {row.id}."
                ) from None
            kept.delete_document(row.id)
            deleted.append(row.id)
        else:
            if copied.sha256 != row.sha256:
                raise CannotBackUp(
                    f"The file of {row.name!r} has changed since it was uploaded: {source}. "
                    f"Put the right one back, or delete the document {row.id}."
                )
        done += row.bytes
        tell("files", done, total)
    return deleted


def _is_there(catalog: Catalog, document_id: str) -> bool:
    try:
        catalog.document(document_id)
    except NotFound:
        return False
    return True


def _make_one_file(kept: Catalog) -> None:
    """Leave one file, without the log beside it, and nothing in it of what was deleted."""
    with kept.database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.execute("PRAGMA journal_mode=DELETE")
        raw.execute("VACUUM")


def _sqlite(file: Path) -> str:
    return f"sqlite:///{file.resolve()}"
