"""API keys in the catalog, on SQLite and PostgreSQL."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from services.core import migrations
from services.core.catalog import Catalog
from services.core.database import Database
from services.core.errors import NotFound
from services.core.keys import Caller, KeyRefused, KeyStore, StandingKeys, sha256_of
from services.core.tables import api_keys, datasets, jobs
from services.core.types import JobKind
from services.eval.store import EVERYBODY, Asked, EvaluationStore
from tests import samples


def refused(store: KeyStore, text: str) -> str:
    with pytest.raises(KeyRefused) as error:
        store.recognise(text)
    return error.value.reason


def test_a_key_is_recognised_with_its_scope_and_collections(catalog: Catalog) -> None:
    store = KeyStore(catalog.database)
    key, text = store.create("write", name="Ada", collections=["b", "a", "b"], expires_in_days=1)
    assert re.fullmatch(rf"cap_{key.id}_[\w-]{{43}}", text)
    assert store.recognise(text) == Caller(key.id, "write", frozenset("ab"))
    other, text = store.create("admin", name="")
    assert store.recognise(text) == Caller(other.id, "admin", None)
    assert store.all() == [key, other]
    assert (key.collections, other.collections) == (["a", "b"], None)
    assert key.expires_at == pytest.approx(time.time() + 24 * 3600, abs=60) and other.expires_at is None


def test_only_the_hash_is_kept(catalog: Catalog) -> None:
    _, text = KeyStore(catalog.database).create("read", name="a name")
    with catalog.database.read() as connection:
        row = connection.execute(sa.select(api_keys)).one()
    assert row.sha256 == sha256_of(text)
    assert text.split("_", 2)[2] not in repr(tuple(row))


def test_a_wrong_key_is_refused_with_its_reason(catalog: Catalog) -> None:
    store = KeyStore(catalog.database)
    key, text = store.create("read", name="")
    for other in ("", "none", text[:-1], text + "x", text.replace("cap_", "CAP_"), f"cap_{key.id}", "cap__", "\ud800"):
        assert refused(store, other) == "malformed", other
    last = "A" if text[-1] != "A" else "B"
    assert refused(store, text[:-1] + last) == "unknown"
    assert refused(store, text.replace(key.id, "0" * 12)) == "unknown"
    assert store.recognise(text).key == key.id


def test_a_revoked_key_is_refused_by_every_process_at_once(catalog: Catalog, catalog_url: str) -> None:
    store, other = KeyStore(catalog.database), Database(catalog_url)
    key, text = store.create("read", name="")
    assert KeyStore(other).recognise(text).key == key.id
    revoked = store.revoke(key.id)
    assert refused(KeyStore(other), text) == "revoked"
    assert store.revoke(key.id) == revoked, "again changes nothing"
    assert [one.status(time.time()) for one in store.all()] == ["revoked"]
    with pytest.raises(NotFound):
        store.revoke("0" * 12)
    other.close()


def test_a_key_expires(catalog: Catalog) -> None:
    store = KeyStore(catalog.database)
    key, text = store.create("read", name="", expires_in_days=0.0)
    assert refused(store, text) == "expired" and key.status(time.time()) == "expired"


def test_standing_keys_are_known_by_their_hash_or_themselves() -> None:
    keys = StandingKeys(sha256_of("of the admin"), "of the services")
    assert keys.find("of the admin") == Caller("admin", "admin")
    assert keys.find("of the services") == Caller("service", "read")
    assert keys.find(sha256_of("of the admin")) is None and keys.find("") is None
    assert StandingKeys(None, None).find("") is None


def test_a_key_is_looked_up_by_one_query_of_one_row(catalog: Catalog) -> None:
    """Each request does that; `benchmarks/keys.py` says what it takes."""
    store = KeyStore(catalog.database)
    texts = [store.create("read", name="")[1] for _ in range(3)]
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(catalog.database.engine, "before_cursor_execute", note)
    store.recognise(texts[1])
    [query] = [statement for statement in asked if not statement.startswith("BEGIN")]
    assert query.startswith("SELECT") and re.search(r"WHERE api_keys\.id = \S+$", query), query


def test_what_was_there_before_keys_is_kept_by_the_migration_down_and_up(catalog: Catalog) -> None:
    document, job, _ = samples.add(catalog, "text", "papers")
    store = EvaluationStore(catalog)
    dataset = store.add_dataset("mine", [])
    evaluation = store.start(dataset, "papers", Asked("champion", None))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with catalog.database.write() as connection:
        free = catalog.jobs.enqueue(connection, JobKind.drift, "win_1", "windows")
    with catalog.database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
    catalog.migrate()
    with catalog.database.read() as connection:
        known = {row.id: row.collection for row in connection.execute(sa.select(jobs.c.id, jobs.c.collection))}
        assert connection.execute(sa.select(datasets.c.collection)).scalars().all() == [EVERYBODY]
    assert known == {job.id: "papers", evaluation.job.id: "papers", free: None}
    assert store.get(evaluation.id).dataset == store.dataset("mine") == dataset
    assert catalog.document(document.id) == document


def test_names_of_datasets_are_a_collection_s_own_or_everybody_s(catalog: Catalog) -> None:
    store = EvaluationStore(catalog)
    everybody_s = store.add_dataset("name", [])
    own = store.add_dataset("name", [], "papers")
    assert own.id != everybody_s.id
    assert store.dataset("name") == store.dataset("name", EVERYBODY, "papers") == everybody_s
    assert store.dataset("name", "papers") == own
    with pytest.raises(NotFound, match="Upload one"):
        store.dataset("name", "other")
