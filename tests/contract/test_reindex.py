"""Documents pass from one encoder to another in the catalog, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.core import chunks
from services.core.catalog import Catalog
from services.core.encoder import HashingEncoder
from services.core.jobs import Job, JobCancelled, LeaseLost
from services.core.reindex import count_of_others, queue, replace_vectors
from services.core.types import DocumentInfo, Hit, JobKind
from tests import samples
from tests.queue import open_jobs

OLD, NEW = HashingEncoder(dim=24), HashingEncoder(dim=32)


def claim(catalog: Catalog, owner: str = "worker", lease_s: float = 60) -> Job:
    job = catalog.jobs.claim(owner, lease_s, JobKind.embed)
    assert job is not None
    return job


def rows(count: int) -> np.ndarray:
    return np.ones((count, NEW.dim), np.float32)


# Replacing --------------------------------------------------------------------------------------------------------


def test_vectors_change_and_nothing_else_does(catalog: Catalog) -> None:
    samples.publish(catalog, "Another", encoder=NEW)
    before = samples.publish(catalog, "Alpha beta\nGamma delta", encoder=OLD)
    ids, texts = chunks.texts(catalog.database, before.id)
    hits = [Hit(int(item), 1.0) for item in ids]
    passages = catalog.passages(hits)
    pages = [catalog.page(before.id, number) for number in (1, 2)]
    first = catalog.changes_after(1, 10)[0]
    (job,) = queue(catalog, NEW.id)
    catalog.jobs.checkpoint(claim(catalog).id, "worker", "vectors", 0, b"half", done=1, total=2)
    replace_vectors(catalog, job, "worker", NEW.encode(texts), NEW.id)

    after = catalog.document(before.id)
    assert (before.encoder_id, after.encoder_id, after.status) == (OLD.id, NEW.id, "ready")
    assert (after.job_id, after.page_count, after.chunk_count) == (before.job_id, 2, 2)
    kept, vectors = catalog.vectors(before.id, NEW.dim, NEW.id)
    assert kept.tolist() == ids.tolist()
    np.testing.assert_array_equal(vectors, NEW.encode(texts))
    assert len(catalog.vectors(before.id, OLD.dim, OLD.id)[0]) == 0
    assert catalog.passages(hits) == passages
    assert [catalog.page(before.id, number) for number in (1, 2)] == pages
    ended = catalog.jobs.get(job.id)
    assert (ended.status, ended.done, ended.total, ended.unit) == ("succeeded", 2, 2, "chunks")
    assert catalog.jobs.checkpoints(job.id, "vectors") == {}
    [change] = catalog.changes_after(first.seq, 10)
    assert (change.seq, change.kind, change.encoder_id) == (catalog.last_seq(), "publish", NEW.id)
    assert (change.document_id, change.collection) == (before.id, "default")
    assert (change.document_seq, change.chunk_count) == (first.seq, 2) == (first.document_seq, first.chunk_count)
    np.testing.assert_array_equal(change.chunk_ids, ids)


def test_a_document_without_chunks_changes_its_encoder(catalog: Catalog) -> None:
    document, _, _ = samples.add(catalog, "contents only")
    job = catalog.jobs.claim("worker", 60)
    assert job is not None
    info = DocumentInfo(1, None, None, None)
    catalog.publish(job, "worker", info, [samples.page(1, "Text")], [], OLD.encode([]), OLD.id)
    assert [each.id for each in samples.embed_anew(catalog, NEW)] == [document.id]
    assert catalog.document(document.id).encoder_id == NEW.id
    assert queue(catalog, NEW.id) == []


@pytest.mark.parametrize("trouble", ["lease lost", "cancelled", "another number of vectors"])
def test_it_is_all_or_nothing(catalog: Catalog, trouble: str) -> None:
    document = samples.publish(catalog, "Alpha\nBeta", encoder=OLD)
    queue(catalog, NEW.id)
    job = claim(catalog, lease_s=-1 if trouble == "lease lost" else 60)
    expected: type[Exception] = ValueError
    if trouble == "lease lost":
        claim(catalog, "thief")
        expected = LeaseLost
    elif trouble == "cancelled":
        catalog.jobs.cancel(job.id)
        expected = JobCancelled
    with pytest.raises(expected):
        replace_vectors(catalog, job, "worker", rows(3 if expected is ValueError else 2), NEW.id)
    assert catalog.document(document.id) == document
    _, vectors = catalog.vectors(document.id, OLD.dim, OLD.id)
    np.testing.assert_array_equal(vectors, OLD.encode(chunks.texts(catalog.database, document.id)[1]))
    assert catalog.last_seq() == 1
    assert catalog.jobs.get(job.id).status == "running"


# Queueing ---------------------------------------------------------------------------------------------------------


def test_ready_documents_of_another_encoder_are_queued_once(catalog: Catalog) -> None:
    old = [samples.publish(catalog, text, collection, encoder=OLD) for text, collection in (("a", "x"), ("b", "y"))]
    samples.publish(catalog, "c", "x", encoder=NEW)
    samples.add(catalog, "not ready", "x")
    assert (count_of_others(catalog.database, NEW.id), count_of_others(catalog.database, OLD.id)) == (2, 1)
    assert queue(catalog, NEW.id, "z") == [] == queue(catalog, NEW.id, within=frozenset({"z"}))
    assert queue(catalog, NEW.id, "x", within=frozenset({"y"})) == []
    (of_y,) = queue(catalog, NEW.id, within=frozenset({"y", "z"}))
    assert (of_y.kind, of_y.subject_id, of_y.status, of_y.unit) == ("embed", old[1].id, "queued", "chunks")
    assert catalog.jobs.get(of_y.id, frozenset({"y"})) == of_y
    (of_x,) = queue(catalog, NEW.id)
    assert of_x.subject_id == old[0].id
    assert queue(catalog, NEW.id) == []
    claim(catalog)
    assert queue(catalog, NEW.id) == [], "nor while it runs"
    catalog.jobs.cancel(of_x.id)
    assert [job.subject_id for job in queue(catalog, NEW.id)] == [old[0].id], "but when it has ended otherwise"


def test_queueing_from_several_sides_at_once_queues_each_once(catalog_url: str, catalog: Catalog) -> None:
    for number in range(5):
        samples.publish(catalog, f"Text {number}", encoder=OLD)
    catalogs = [Catalog(catalog_url) for _ in range(6)]
    barrier = threading.Barrier(len(catalogs))

    def ask(mine: Catalog) -> list[Job]:
        barrier.wait()
        return queue(mine, NEW.id)

    with ThreadPoolExecutor(len(catalogs)) as pool:
        queued = [job.subject_id for found in pool.map(ask, catalogs) for job in found]
    assert len(queued) == len(set(queued)) == 5 == open_jobs(catalog, JobKind.embed)
    for each in catalogs:
        each.close()


# Deleting ---------------------------------------------------------------------------------------------------------


def test_a_deletion_is_told_with_the_newest_encoder_and_the_first_number(catalog: Catalog) -> None:
    document = samples.publish(catalog, "Alpha\nBeta", encoder=OLD)
    ids, _ = catalog.vectors(document.id, OLD.dim)
    samples.embed_anew(catalog, NEW)
    catalog.delete_document(document.id)
    *_, change = catalog.changes_after(0, 10)
    assert (change.kind, change.encoder_id, change.document_seq, change.chunk_count) == ("delete", NEW.id, 1, 2)
    np.testing.assert_array_equal(change.chunk_ids, ids)


def test_deleting_cancels_the_job_that_waits(catalog: Catalog) -> None:
    documents = [samples.publish(catalog, text, encoder=OLD) for text in ("doomed", "kept")]
    doomed, kept = queue(catalog, NEW.id)
    catalog.delete_document(documents[0].id)
    assert (catalog.jobs.get(doomed.id).status, catalog.jobs.get(kept.id).status) == ("cancelled", "queued")
    assert claim(catalog).id == kept.id


def test_deleting_stops_the_job_that_runs(catalog: Catalog) -> None:
    document = samples.publish(catalog, "Alpha\nBeta", encoder=OLD)
    queue(catalog, NEW.id)
    job = claim(catalog)
    catalog.delete_document(document.id)
    with pytest.raises(JobCancelled):
        catalog.jobs.heartbeat(job.id, "worker", 60)
    with pytest.raises(JobCancelled):
        replace_vectors(catalog, job, "worker", rows(2), NEW.id)
    assert [change.kind for change in catalog.changes_after(0, 10)] == ["publish", "delete"]
