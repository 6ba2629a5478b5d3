"""The catalog, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from services.core import chunks, migrations
from services.core.catalog import Catalog
from services.core.errors import NotFound
from services.core.jobs import JobCancelled, LeaseLost
from services.core.neighbours import Placed
from services.core.tables import metadata
from services.core.types import DocumentInfo, Hit, JobStatus
from tests import samples


def test_migrations_build_exactly_the_schema_of_the_code(catalog: Catalog) -> None:
    with catalog.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_from_several_processes_at_once_is_safe(catalog_url: str) -> None:
    catalogs = [Catalog(catalog_url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Catalog.migrate, catalogs))
    assert catalogs[0].last_seq() == 0
    for catalog in catalogs:
        catalog.close()


def test_a_job_in_work_survives_the_migrations_down_and_up(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    catalog.jobs.claim("worker", 60)
    catalog.jobs.checkpoint(job.id, "worker", "page", 1, b"one", done=1, total=2)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with catalog.database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    catalog.migrate()
    assert catalog.jobs.get(job.id).subject_id == job.subject_id
    assert catalog.jobs.checkpoints(job.id, "page") == {1: b"one"}


def test_chunks_are_placed_on_their_pages_and_gone_with_their_document(catalog: Catalog) -> None:
    kept, doomed = (samples.publish(catalog, f"{name} alpha beta\nGamma") for name in ("First", "Second"))
    ids = [int(item) for document in (kept, doomed) for item in catalog.vectors(document.id, samples.DIM)[0]]
    found = chunks.placed(catalog.database, [*ids, 10**12])
    assert sorted(found) == ids
    assert found[ids[0]] == Placed(kept.id, samples.page(1, "First alpha beta"), 0, 16)
    assert found[ids[3]] == Placed(doomed.id, samples.page(2, "Gamma"), 0, 5)
    catalog.delete_document(doomed.id)
    assert sorted(chunks.placed(catalog.database, ids)) == ids[:2]
    assert chunks.placed(catalog.database, []) == {}


def test_a_published_document_is_there_with_everything(catalog: Catalog) -> None:
    document = samples.publish(catalog, "Alpha beta gamma\nDelta epsilon")
    assert (document.status, document.page_count, document.chunk_count) == ("ready", 2, 2)
    assert catalog.page(document.id, 2) == samples.page(2, "Delta epsilon")
    ids, vectors = catalog.vectors(document.id, samples.DIM)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[1], samples.vector("Delta epsilon"))
    [change] = catalog.changes_after(0, 10)
    assert change.kind == "publish"
    np.testing.assert_array_equal(change.chunk_ids, ids)
    [passage] = catalog.passages([Hit(int(ids[0]), 0.5)])
    assert (passage.text, passage.page, passage.section) == ("Alpha beta gamma", 1, ("Part", "Section"))
    assert catalog.counts() == {"default": {"documents": 1, "pages": 2, "chunks": 2}}


def test_what_cannot_be_seen_is_told_by_page(catalog: Catalog) -> None:
    document, job, _ = samples.add(catalog, "poison")
    claimed = catalog.jobs.claim("worker", lease_s=60)
    assert claimed is not None and claimed.id == job.id
    assert (document.hidden_text_pages, document.scanned_pages) == (None, None)
    facts = [(0, False), (12, False), (0, True)]
    pages = [
        replace(samples.page(number, "Text"), hidden_chars=hidden, scanned=scanned)
        for number, (hidden, scanned) in enumerate(facts, 1)
    ]
    none = np.empty((0, samples.DIM), np.float32)
    catalog.publish(claimed, "worker", DocumentInfo(3, None, None, None), pages, [], none, samples.ENCODER)
    ready = catalog.document(document.id)
    assert (ready.hidden_text_pages, ready.scanned_pages) == ([2], [3])
    assert [catalog.page(document.id, number) for number in (1, 2, 3)] == pages


def test_the_same_bytes_in_one_collection_are_one_document(catalog: Catalog) -> None:
    first, job, created = samples.add(catalog, "same")
    again, same_job, created_again = samples.add(catalog, "same")
    elsewhere, _, created_elsewhere = samples.add(catalog, "same", "other")
    assert (created, created_again, created_elsewhere) == (True, False, True)
    assert again.id == first.id != elsewhere.id
    assert same_job.id == job.id


def test_the_same_bytes_arriving_at_once_are_one_document(catalog: Catalog) -> None:
    barrier = threading.Barrier(8)

    def upload(_: int) -> tuple[str, bool]:
        barrier.wait()
        document, _job, created = samples.add(catalog, "racing")
        return document.id, created

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(upload, range(8)))
    assert len({document_id for document_id, _ in results}) == 1
    assert sum(created for _, created in results) == 1


def test_documents_are_listed_newest_first_in_pages(catalog: Catalog) -> None:
    names = [samples.add(catalog, f"text {i}")[0].id for i in range(5)]
    first = catalog.documents(None, after=None, limit=3)
    rest = catalog.documents(None, after=first[-1].id, limit=3)
    assert [document.id for document in first + rest] == sorted(names, reverse=True)
    assert catalog.documents("other", after=None, limit=3) == []


def test_a_deleted_document_leaves_no_row_but_a_change(catalog: Catalog) -> None:
    document = samples.publish(catalog, "Alpha beta\nGamma delta")
    ids, _ = catalog.vectors(document.id, samples.DIM)
    catalog.delete_document(document.id)
    assert catalog.passages([Hit(int(each), 1.0) for each in ids]) == []
    assert catalog.counts() == {}
    publish, delete = catalog.changes_after(0, 10)
    assert (publish.kind, delete.kind) == ("publish", "delete")
    np.testing.assert_array_equal(delete.chunk_ids, ids)
    for ask in (catalog.document, catalog.delete_document):
        with pytest.raises(NotFound):
            ask(document.id)
    with pytest.raises(NotFound):
        catalog.page(document.id, 1)


def test_chunk_ids_are_never_used_again(catalog: Catalog) -> None:
    first = samples.publish(catalog, "Alpha")
    first_ids, _ = catalog.vectors(first.id, samples.DIM)
    catalog.delete_document(first.id)
    second = samples.publish(catalog, "Alpha")
    second_ids, _ = catalog.vectors(second.id, samples.DIM)
    assert set(first_ids.tolist()).isdisjoint(second_ids.tolist())


def test_deleting_during_ingest_stops_the_job_and_publishes_nothing(catalog: Catalog) -> None:
    document, _, _ = samples.add(catalog, "doomed")
    job = catalog.jobs.claim("worker", 60)
    assert job is not None
    catalog.delete_document(document.id)
    with pytest.raises(JobCancelled):
        samples.finish(catalog, job, "doomed")
    assert catalog.last_seq() == 0
    assert catalog.counts() == {}


def test_a_late_worker_cannot_publish_what_another_has_taken_over(catalog: Catalog) -> None:
    samples.add(catalog, "contested")
    slow = catalog.jobs.claim("slow", lease_s=-1)
    quick = catalog.jobs.claim("quick", lease_s=60)
    assert slow is not None and quick is not None and slow.id == quick.id
    with pytest.raises(LeaseLost):
        samples.finish(catalog, slow, "contested", owner="slow")
    samples.finish(catalog, quick, "contested", owner="quick")
    assert catalog.counts()["default"]["chunks"] == 1
    with pytest.raises(LeaseLost):
        samples.finish(catalog, quick, "contested", owner="quick")
    assert catalog.counts()["default"]["chunks"] == 1


def test_sequence_numbers_become_visible_in_order(catalog: Catalog) -> None:
    """A follower that reads up to n must never find a smaller number later."""
    for i in range(24):
        samples.add(catalog, f"text {i}")
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set():
            seen.extend(change.seq for change in catalog.changes_after(seen[-1] if seen else 0, 100))

    def work(owner: str) -> None:
        while (job := catalog.jobs.claim(owner, 60)) is not None:
            samples.finish(catalog, job, f"text of {job.id}", owner)

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["a", "b", "c", "d"]))
    done.set()
    follower.join()
    seen.extend(change.seq for change in catalog.changes_after(seen[-1] if seen else 0, 100))
    assert seen == sorted(seen)
    assert len(seen) == 24


def test_an_answer_is_read_back_as_it_was(catalog: Catalog) -> None:
    catalog.save_answer("default", {"id": "ans_1", "answer": "Forty-two.", "citations": []})
    assert catalog.answer("ans_1") == {"id": "ans_1", "answer": "Forty-two.", "citations": []}
    with pytest.raises(NotFound):
        catalog.answer("ans_2")


def test_a_failed_job_says_why(catalog: Catalog) -> None:
    document, job, _ = samples.add(catalog, "bad")
    catalog.jobs.claim("worker", 60)
    catalog.jobs.end(job.id, "worker", JobStatus.failed, error=("encrypted", "It has a password."))
    ended = catalog.jobs.get(job.id)
    assert (ended.status, ended.error_code, ended.error_detail) == ("failed", "encrypted", "It has a password.")
    assert catalog.document(document.id).status == "failed"
