"""Backup and restore of catalog and files, on SQLite and PostgreSQL and from one to the other; broken in many ways."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import select, update
from sqlalchemy.exc import DatabaseError

from services.api.resources import _dense_view
from services.backup.form import CATALOG, FACTS, FORMAT
from services.backup.make import back_up
from services.backup.restore import restore
from services.backup.sums import SUMS, checked, seal
from services.core import database as core_database
from services.core.catalog import Catalog
from services.core.encoder import open_encoder
from services.core.errors import (
    BackupDamaged,
    BackupTooNew,
    CannotBackUp,
    NotEmpty,
    ReleaseInProgress,
    RestoreUnfinished,
)
from services.core.exclusive import RELEASES, exclusive
from services.core.settings import Settings
from services.core.tables import counters, drift_windows, release_events
from tests import samples
from tests.backups import at, fill, killed, opened, put, quiet, rows_of, settings_of, take_away
from tests.server import new_database

KINDS = ["sqlite", "postgresql"]


def new_system(kind: str, folder: Path, request: pytest.FixtureRequest) -> Settings:
    url = new_database(request.getfixturevalue("postgres_url")) if kind == "postgresql" else None
    return settings_of(folder, url)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "here")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "elsewhere")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "monday"


def two_documents(settings: Settings) -> tuple[str, str]:
    catalog = opened(settings)
    ids = tuple(put(settings, catalog, f"{name} alpha beta\nGamma").id for name in ("First", "Second"))
    catalog.close()
    return ids[0], ids[1]


def state(settings: Settings) -> tuple[Any, Any]:
    catalog = Catalog(settings.catalog_url)
    try:
        files = {path.name: path.read_bytes() for path in settings.files_dir.iterdir()}
        return rows_of(catalog.database), files
    finally:
        catalog.close()


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_every_row_and_file_comes_back_from_either_database_in_either(
    source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path, place: Path
) -> None:
    here, there = new_system(source, tmp_path / "here", request), new_system(target, tmp_path / "there", request)
    catalog = opened(here)
    kept, gone = (put(here, catalog, f"{name} alpha\nbeta") for name in ("kept", "gone"))
    take_away(here, catalog, gone.id)
    _, job, _ = samples.add(catalog, "in work")
    (here.files_dir / f"{job.subject_id}.pdf").write_text("in work")
    catalog.jobs.claim("a worker of before", lease_s=0.0)
    catalog.jobs.checkpoint(job.id, "a worker of before", "page", 1, b"\0\xff", done=1, total=2)
    fill(catalog.database)

    facts = back_up(here, place, quiet)
    assert (facts.documents, facts.deleted, facts.rows["jobs"]) == (2, [], 3)
    assert restore(there, place, quiet) == facts

    with catalog.database.write() as connection:  # pages about drift are not in a backup
        connection.execute(update(drift_windows).values(report=False).where(drift_windows.c.report))
    assert state(there) == state(here)
    with opened(there).database.read() as connection:
        numbers = {row.name: row.value for row in connection.execute(select(counters))}
    assert numbers.pop("history") > 0
    assert numbers == {"seq": 3, "captures": 0, "retraining_runs": 0}
    again = opened(there)
    assert again.document(kept.id) == catalog.document(kept.id)
    went_on = again.jobs.claim("a worker of now", lease_s=60)
    assert went_on is not None and went_on.id == job.id
    assert again.jobs.checkpoints(job.id, "page") == {1: b"\0\xff"}
    samples.finish(again, went_on, "in work", "a worker of now")
    assert again.last_seq() == 4
    with pytest.raises(DatabaseError), again.database.write() as connection:
        connection.execute(release_events.delete())
    assert sorted(path.name for path in there.data_dir.iterdir()) == sorted(
        {"files", *({"catalog.db", "catalog.db-shm", "catalog.db-wal"} if target == "sqlite" else [])}
        | {path.name for path in there.data_dir.glob("*.lock")}
    )
    for one in (catalog, again):
        one.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_happens_meanwhile_is_not_in_it_and_leaves_nothing_half(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, place: Path, elsewhere: Settings
) -> None:
    here = new_system(kind, tmp_path / "here", request)
    kept, gone = two_documents(here)
    catalog = opened(here)

    def meanwhile() -> None:
        put(here, catalog, "too late alpha\nbeta")
        take_away(here, catalog, gone)

    facts = back_up(here, place, at("catalog", meanwhile))
    assert (facts.documents, facts.deleted) == (1, [gone])
    assert b"Second" not in (place / CATALOG).read_bytes(), "what was deleted is not kept in a corner of the file"
    restore(elsewhere, place, quiet)
    restored = opened(elsewhere)
    assert [document.id for document in restored.documents(None, after=None, limit=9)] == [kept]
    assert [(change.kind, change.document_id) for change in restored.changes_after(0, 9)] == [
        ("publish", kept),
        ("publish", gone),
        ("delete", gone),
    ]
    assert [path.stem for path in elsewhere.files_dir.iterdir()] == [kept]


def test_an_index_of_another_history_is_not_taken_for_one_of_the_restored_catalog(here: Settings, place: Path) -> None:
    encoder = open_encoder("hashing", here.models_dir, 1)
    catalog = opened(here)
    first, second = (put(here, catalog, f"{name} alpha beta", encoder=encoder) for name in ("First", "Second"))
    back_up(here, place, quiet)
    take_away(here, catalog, first.id)
    put(here, catalog, "Third alpha beta", encoder=encoder)
    view = _dense_view(here, catalog, encoder)
    assert view.catch_up() == 4
    view.close()
    catalog.close()
    shutil.rmtree(here.files_dir)
    for path in here.data_dir.glob("catalog.db*"):
        path.unlink()

    restore(here, place, quiet)
    catalog = opened(here)
    more = [put(here, catalog, f"{name} alpha beta", encoder=encoder) for name in ("Fourth", "Fifth")]
    view = _dense_view(here, catalog, encoder)
    [query] = encoder.encode(["alpha beta"])
    found = view.search("default", query, 10)
    assert {passage.document_id for passage in catalog.passages(found.hits)} == {
        first.id,
        second.id,
        *(document.id for document in more),
    }
    view.close()


@pytest.fixture
def backup(here: Settings, place: Path) -> Path:
    two_documents(here)
    back_up(here, place, quiet)
    return place


def damages(place: Path) -> list[tuple[str, Path, bytes | None]]:
    """What to do to which file: its new content, None to remove it."""
    found: list[tuple[str, Path, bytes | None]] = [("one more", place / "files" / "doc_0.pdf", b"%PDF-")]
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for position in {0, len(content) // 2, len(content) - 1}:
            flipped = bytearray(content)
            flipped[position] ^= 1
            found.append((f"bit of byte {position}", path, bytes(flipped)))
        found += [("cut by one", path, content[:-1]), ("cut", path, content[: len(content) // 3]), ("gone", path, None)]
        found.append(("longer", path, content + b"\n"))
    first_line = (place / SUMS).read_bytes().split(b"\n", 1)
    found.append(("a line less", place / SUMS, first_line[1]))
    return found


def test_a_damaged_backup_is_refused_before_anything_is_written(backup: Path, elsewhere: Settings) -> None:
    for what, path, content in damages(backup):
        before = path.read_bytes() if path.exists() else None
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(BackupDamaged) as refused:
            restore(elsewhere, backup, quiet)
        assert str(backup) in refused.value.detail, (what, path)
        assert not elsewhere.data_dir.exists(), (what, path)
        path.unlink() if before is None else path.write_bytes(before)
    restore(elsewhere, backup, quiet)


def test_a_list_that_leads_out_of_the_backup_is_refused(backup: Path, elsewhere: Settings, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    line = (backup / SUMS).read_text().splitlines()[0]
    for name in ("../secret", str(tmp_path / "secret"), "./backup.json"):
        with (backup / SUMS).open("a") as file:
            file.write(f"{line[:64]}  {name}\n")
        with pytest.raises(BackupDamaged):
            restore(elsewhere, backup, quiet)
    link = backup / "files" / "link.pdf"
    link.symlink_to(tmp_path / "secret")
    (backup / SUMS).unlink()
    seal(backup)
    with pytest.raises(BackupDamaged, match="plain file"):
        restore(elsewhere, backup, quiet)


def rewrite(backup: Path, **facts: Any) -> None:
    """As another version would have written it, whole."""
    told = json.loads((backup / FACTS).read_text())
    (backup / FACTS).write_text(json.dumps(told | facts))
    (backup / SUMS).unlink()
    seal(backup)


@pytest.mark.parametrize("facts", [{"format": FORMAT + 1, "novel": True}, {"revision": "9999"}], ids=["form", "schema"])
def test_a_backup_of_a_newer_version_is_refused(backup: Path, elsewhere: Settings, facts: dict[str, Any]) -> None:
    rewrite(backup, **facts)
    with pytest.raises(BackupTooNew, match="newer"):
        restore(elsewhere, backup, quiet)
    assert not elsewhere.data_dir.exists()


def test_a_backup_of_an_older_schema_is_brought_to_this_one(backup: Path, elsewhere: Settings) -> None:
    old = core_database.Database(f"sqlite:///{backup / CATALOG}")
    config = core_database._migrations()
    with old.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
    old.close()  # the last connection puts the log beside it into the file
    rewrite(backup, revision="0007")
    restore(elsewhere, backup, quiet)
    catalog = opened(elsewhere)
    assert catalog.counts() == {"default": {"documents": 2, "pages": 4, "chunks": 4}}
    assert catalog.counter("retraining_runs") == 0


def test_only_an_empty_system_is_restored_into(backup: Path, elsewhere: Settings) -> None:
    elsewhere.files_dir.mkdir(parents=True)
    (elsewhere.files_dir / "doc_1.pdf").write_text("somebody's")
    with pytest.raises(NotEmpty, match="files"):
        restore(elsewhere, backup, quiet)
    (elsewhere.files_dir / "doc_1.pdf").unlink()
    catalog = opened(elsewhere)
    catalog.save_answer("default", {"id": "ans_1"})
    with pytest.raises(NotEmpty, match=r"\(answers\)") as refused:
        restore(elsewhere, backup, quiet)
    assert refused.value.code == "not_empty"
    assert catalog.answer("ans_1") == {"id": "ans_1"} and catalog.document_count() == 0
    catalog.require_whole()


def test_a_restored_system_is_not_restored_into_again(backup: Path, elsewhere: Settings) -> None:
    restore(elsewhere, backup, quiet)
    with pytest.raises(NotEmpty):
        restore(elsewhere, backup, quiet)


@pytest.mark.parametrize("step", ["catalog", "files"])
def test_a_killed_backup_looks_like_none(here: Settings, elsewhere: Settings, place: Path, step: str) -> None:
    two_documents(here)
    killed(here, "backup", place, step)
    assert not place.exists()
    [left] = place.parent.iterdir()
    with pytest.raises(BackupDamaged, match="no whole backup"):
        restore(elsewhere, left, quiet)
    back_up(here, place, quiet)
    assert list(place.parent.iterdir()) == [place], "what the killed one left is gone"
    assert checked(place, quiet)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["files", "catalog"])
def test_a_killed_restore_is_told_and_goes_on_when_it_is_repeated(
    kind: str, step: str, request: pytest.FixtureRequest, tmp_path: Path, here: Settings, backup: Path
) -> None:
    there = new_system(kind, tmp_path / "there", request)
    killed(there, "restore", backup, step)
    catalog = Catalog(there.catalog_url)
    with pytest.raises(RestoreUnfinished, match="capstone restore"):
        catalog.migrate()
    assert catalog.document_count() == 0
    catalog.close()
    with pytest.raises(RestoreUnfinished):
        back_up(there, tmp_path / "of a half", quiet)
    back_up(here, tmp_path / "another", quiet)
    with pytest.raises(RestoreUnfinished, match="another backup"):
        restore(there, tmp_path / "another", quiet)
    restore(there, backup, quiet)
    assert state(there) == state(here)
    opened(there).close()


def test_a_file_that_is_not_what_was_uploaded_stops_the_backup(here: Settings, place: Path) -> None:
    first, _ = two_documents(here)
    path = here.files_dir / f"{first}.pdf"
    path.write_text("something else")
    with pytest.raises(CannotBackUp, match="has changed") as refused:
        back_up(here, place, quiet)
    assert first in refused.value.detail and refused.value.code == "cannot_back_up"
    path.unlink()
    with pytest.raises(CannotBackUp, match="is missing"):
        back_up(here, place, quiet)
    assert list(place.parent.iterdir()) == []
    opened(here).delete_document(first)
    assert back_up(here, place, quiet).documents == 1


def test_what_cannot_be_backed_up(here: Settings, place: Path) -> None:
    with pytest.raises(CannotBackUp, match="no catalog"):
        back_up(here, place, quiet)
    assert not here.data_dir.exists() and not place.exists()
    two_documents(here)
    place.mkdir(parents=True)
    with pytest.raises(CannotBackUp, match="new name"):
        back_up(here, place, quiet)
    place.rmdir()
    config, catalog = core_database._migrations(), opened(here)
    with catalog.database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    with pytest.raises(CannotBackUp, match="version that serves"):
        back_up(here, place, quiet)


def test_a_promotion_under_way_is_waited_for(here: Settings, place: Path) -> None:
    two_documents(here)
    catalog, hasty = opened(here), here.model_copy(update={"promotion_timeout_s": 0.5})
    with exclusive(catalog.database, RELEASES) as alone:
        assert alone
        with pytest.raises(ReleaseInProgress):
            back_up(hasty, place, quiet)
    assert back_up(hasty, place, quiet).documents == 2
    with exclusive(catalog.database, RELEASES) as alone:
        assert alone, "it has let go of it"


def test_a_backup_is_for_its_owner_and_says_what_is_in_it(backup: Path) -> None:
    assert os.stat(backup).st_mode & 0o077 == 0
    assert sorted(path.name for path in backup.iterdir()) == [SUMS, FACTS, CATALOG, "files", "registry"]
    told = json.loads((backup / FACTS).read_text())
    assert (told["format"], told["documents"], told["releases"], told["aliases"]) == (FORMAT, 2, 0, {})


def test_a_mark_of_a_restore_is_no_row_that_a_backup_brings(here: Settings, place: Path, elsewhere: Settings) -> None:
    """Each restore is a new history, also of a system that was restored."""
    two_documents(here)
    back_up(here, place, quiet)
    restore(elsewhere, place, quiet)
    back_up(elsewhere, place.with_name("tuesday"), quiet)
    third = settings_of(elsewhere.data_dir / "third")
    restore(third, place.with_name("tuesday"), quiet)
    histories = {opened(one).history() for one in (here, elsewhere, third)}
    assert len(histories) == 3 and 0 in histories
