"""A backup -> the system that it was made of, in a place where nothing is yet.

Everything is verified before anything is written. Then the order is: a mark in the catalog, files, releases, and at
last all rows of the catalog in one transaction, which takes the mark away. A restore that was cut off is told by the
mark: services do not start on it, and the same restore, repeated, goes on.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from services.backup.form import CATALOG, FILES, REGISTRY, VERSIONS, Facts, file_name, read_facts
from services.backup.registry import ReleaseCopy
from services.backup.rows import copy_rows, count_rows, in_use
from services.backup.sums import SUMS, Part, Tell, checked, copy, sync_folder
from services.core.catalog import HISTORY, RESTORING, Catalog
from services.core.database import known_revisions, revision_of
from services.core.errors import BackupDamaged, BackupTooNew, NotEmpty, ReleaseInProgress, RestoreUnfinished
from services.core.exclusive import exclusive
from services.core.settings import Settings
from services.core.tables import counters, documents, drift_windows

_LOCK, _WORK = "restore", ".restore"
_NUMBER_HEX = 15  # 60 bits: a BIGINT holds them
_HISTORY_BITS = 62


def restore(settings: Settings, place: Path, tell: Tell, *, registry: bool = True) -> Facts:
    """Put the backup in the folder `place` where the settings say that catalog, files and registry are.

    Raises BackupDamaged or BackupTooNew before anything is written; NotEmpty if there is something already;
    RestoreUnfinished if there is a part of another backup; ReleaseInProgress if somebody else restores; Unavailable if
    the registry does not answer; OSError if the disk refuses.
    """
    sums = checked(place, tell)
    facts = read_facts(place)
    if facts.revision not in known_revisions():
        raise BackupTooNew(
            f"The catalog in {place} has the schema {facts.revision}, which this version does not know. "
            "Restore it with the version that made it, or a newer one."
        )
    listed = _releases_of(place, facts)
    releases = ReleaseCopy(settings, lambda: tell("releases", 0, None)) if registry and listed is not None else None
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with closing(Catalog(settings.catalog_url)) as catalog:
        catalog.database.check()
        with exclusive(catalog.database, _LOCK) as alone:
            if not alone:
                raise ReleaseInProgress("Another restore into this system is under way.")
            catalog.database.migrate()
            with _rows_of(place, settings) as kept:
                _require_files(kept, sums)
                _mark(settings, catalog, releases, _number_of(place))
                _bring_files(settings, place, sums, tell)
                if releases is not None and listed is not None:
                    releases.register(listed, place / REGISTRY)
                    tell("releases", len(listed["versions"]), len(listed["versions"]))
                _bring_rows(kept, catalog, tell)
    return facts


def _number_of(place: Path) -> int:
    """What tells this backup from all others."""
    return int(hashlib.sha256((place / SUMS).read_bytes()).hexdigest()[:_NUMBER_HEX], 16)


def _releases_of(place: Path, facts: Facts) -> Mapping[str, Any] | None:
    if facts.releases is None:
        return None
    try:
        listed = json.loads((place / VERSIONS).read_bytes())
        wanted = [place / REGISTRY / str(int(version["version"])) / "release" for version in listed["versions"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupDamaged(f"{place / VERSIONS} cannot be read ({type(error).__name__}).") from error
    if missing := [folder for folder in wanted if not folder.is_dir()]:
        raise BackupDamaged(f"{missing[0]} is missing. This backup cannot be restored.")
    return dict(listed)


@contextmanager
def _rows_of(place: Path, settings: Settings) -> Iterator[Catalog]:
    """A copy of the backup's catalog, brought to the schema of this version."""
    work = settings.data_dir / _WORK
    shutil.rmtree(work, ignore_errors=True)
    try:
        copy(place / CATALOG, work / CATALOG)
        with closing(Catalog(f"sqlite:///{(work / CATALOG).resolve()}")) as kept:
            with kept.database.read() as connection:
                if revision_of(connection) not in known_revisions():
                    raise BackupDamaged(f"{place / CATALOG} is no catalog.")
            kept.database.migrate()
            yield kept
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_files(kept: Catalog, sums: Mapping[str, str]) -> None:
    """Raises BackupDamaged unless each document has its file, and no other file is there."""
    with kept.database.read() as connection:
        rows = connection.execute(select(documents.c.id, documents.c.sha256)).all()
    wanted = {f"{FILES}/{file_name(row.id)}": row.sha256 for row in rows}
    there = {name: sha256 for name, sha256 in sums.items() if name.startswith(f"{FILES}/")}
    if wanted != there:
        raise BackupDamaged("The files of the backup are not those of its documents. It cannot be restored.")


def _mark(settings: Settings, catalog: Catalog, releases: ReleaseCopy | None, number: int) -> None:
    """Say in the catalog that this backup is being restored, if nothing is there, or a part of the same one."""
    begun = catalog.counter(RESTORING)
    if begun == number:
        return
    if begun is not None:
        raise RestoreUnfinished(
            "The restore of another backup into this system has not been finished. Repeat that one, or begin with an "
            "empty catalog, files and registry."
        )
    _require_empty_files(settings)
    if releases is not None and releases.listed()["versions"]:
        raise NotEmpty("The model registry has releases already. A backup is restored into an empty system only.")
    with catalog.database.write() as connection:
        _require_empty(connection)
        connection.execute(insert(counters).values(name=RESTORING, value=number))


def _require_empty(connection: Connection) -> None:
    if tables := in_use(count_rows(connection)):
        raise NotEmpty(
            f"The catalog is not empty ({', '.join(tables)}). A backup is restored into an empty system only."
        )


def _require_empty_files(settings: Settings) -> None:
    if settings.files_dir.is_dir() and any(settings.files_dir.iterdir()):
        raise NotEmpty(f"{settings.files_dir} is not empty. A backup is restored into an empty system only.")


def _bring_files(settings: Settings, place: Path, sums: Mapping[str, str], tell: Tell) -> None:
    names = [name for name in sums if name.startswith(f"{FILES}/")]
    sizes = {name: (place / name).stat().st_size for name in names}
    done = 0
    settings.files_dir.mkdir(parents=True, exist_ok=True)
    for name in names:
        copied: Part = copy(place / name, settings.files_dir / Path(name).name)
        if copied.sha256 != sums[name]:
            raise BackupDamaged(f"{place / name} has changed while it was read.")
        done += copied.bytes
        tell("files", done, sum(sizes.values()))
    sync_folder(settings.files_dir)


def _bring_rows(kept: Catalog, catalog: Catalog, tell: Tell) -> None:
    """All rows at once. From here on the catalog has a history of its own: what was indexed of the one that was backed
    up goes on with other numbers, and is not taken for this one's. Pages about drift are not in a backup."""
    with kept.database.snapshot() as source, catalog.database.write() as target:
        _require_empty(target)
        copy_rows(source, target, tell)
        target.execute(delete(counters).where(counters.c.name.in_((HISTORY, RESTORING))))
        target.execute(insert(counters).values(name=HISTORY, value=secrets.randbits(_HISTORY_BITS) or 1))
        target.execute(update(drift_windows).where(drift_windows.c.report).values(report=False))
