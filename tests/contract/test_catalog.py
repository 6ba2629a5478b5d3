"""The catalog, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.core.catalog import Catalog
from services.core.errors import NotFound
from services.core.jobs import JobCancelled, LeaseLost
from services.core.tables import metadata
from services.core.types import Hit, JobStatus
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
        document, _, created = samples.add(catalog, "racing")
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
