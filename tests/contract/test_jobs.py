"""The job queue, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.core.catalog import Catalog
from services.core.errors import Conflict, NotFound
from services.core.jobs import JobCancelled, LeaseLost
from services.core.types import JobKind, JobStatus
from tests import samples
from tests.queue import open_jobs


def test_a_job_is_given_to_one_worker_only(catalog: Catalog) -> None:
    for i in range(20):
        samples.add(catalog, f"text {i}")

    def take_all(owner: str) -> list[str]:
        taken = []
        while (job := catalog.jobs.claim(owner, 60)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job for jobs in pool.map(take_all, "abcd") for job in jobs]
    assert len(taken) == 20 == len(set(taken))


def test_jobs_are_taken_oldest_first(catalog: Catalog) -> None:
    jobs = [samples.add(catalog, f"text {i}")[1].id for i in range(3)]
    taken = [catalog.jobs.claim("worker", 60) for _ in jobs]
    assert [job.id for job in taken if job] == jobs
    assert catalog.jobs.claim("worker", 60) is None


def test_a_lease_that_ran_out_passes_on_with_its_checkpoints(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    assert catalog.jobs.claim("dead", lease_s=-1)
    catalog.jobs.checkpoint(job.id, "dead", "page", 1, b"one", done=1, total=3)
    catalog.jobs.checkpoint(job.id, "dead", "page", 2, b"two", done=2, total=3)
    taken = catalog.jobs.claim("heir", 60)
    assert taken is not None
    assert (taken.id, taken.done, taken.total, taken.attempts) == (job.id, 2, 3, 2)
    assert catalog.jobs.checkpoints(job.id, "page") == {1: b"one", 2: b"two"}
    with pytest.raises(LeaseLost):
        catalog.jobs.checkpoint(job.id, "dead", "page", 3, b"three", done=3, total=3)
    with pytest.raises(LeaseLost):
        catalog.jobs.heartbeat(job.id, "dead", 60)


def test_a_renewed_lease_does_not_run_out(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    catalog.jobs.claim("worker", lease_s=-1)
    catalog.jobs.heartbeat(job.id, "worker", 60)
    assert catalog.jobs.claim("thief", 60) is None


def test_attempts_count_starts_without_progress(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    for _ in range(3):
        taken = catalog.jobs.claim("crashing", lease_s=-1)
    assert taken is not None and taken.attempts == 3
    catalog.jobs.checkpoint(job.id, "crashing", "page", 1, b"", done=1, total=2)
    taken = catalog.jobs.claim("worker", lease_s=60)
    assert taken is not None and taken.attempts == 2


def test_a_job_given_back_is_taken_at_once(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    catalog.jobs.claim("stopping", 60)
    assert catalog.jobs.claim("next", 60) is None
    catalog.jobs.give_back(job.id, "stopping")
    taken = catalog.jobs.claim("next", 60)
    assert taken is not None and taken.attempts == 1


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_at_its_heartbeat(catalog: Catalog) -> None:
    _, running, _ = samples.add(catalog, "running")
    catalog.jobs.claim("worker", 60)
    _, queued, _ = samples.add(catalog, "queued")
    assert catalog.jobs.cancel(queued.id).status == JobStatus.cancelled
    assert catalog.jobs.claim("worker", 60) is None
    assert catalog.jobs.cancel(running.id).status == JobStatus.running
    with pytest.raises(JobCancelled):
        catalog.jobs.heartbeat(running.id, "worker", 60)
    catalog.jobs.end(running.id, "worker", JobStatus.cancelled)
    with pytest.raises(Conflict):
        catalog.jobs.cancel(running.id)
    with pytest.raises(NotFound):
        catalog.jobs.cancel("job_unknown")


def test_checkpoints_go_when_the_job_ends(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    catalog.jobs.claim("worker", 60)
    catalog.jobs.checkpoint(job.id, "worker", "page", 1, b"one", done=1, total=1)
    catalog.jobs.end(job.id, "worker", JobStatus.failed, error=("damaged", "It is cut off."))
    assert catalog.jobs.checkpoints(job.id, "page") == {}
    assert open_jobs(catalog) == 0


def test_a_worker_takes_jobs_of_its_kind_only(catalog: Catalog) -> None:
    _, ingest, _ = samples.add(catalog, "text")
    with catalog.database.write() as connection:
        other = catalog.jobs.enqueue(connection, JobKind.evaluation, "eval_1", "questions")
    taken = catalog.jobs.claim("worker", 60, JobKind.evaluation)
    assert taken is not None and (taken.id, taken.kind, taken.subject_id) == (other, JobKind.evaluation, "eval_1")
    assert catalog.jobs.claim("worker", 60, JobKind.evaluation) is None
    assert catalog.jobs.release_all(JobKind.ingest) == 0
    taken = catalog.jobs.claim("worker", 60)
    assert taken is not None and taken.id == ingest.id
    assert (open_jobs(catalog), open_jobs(catalog, JobKind.evaluation)) == (1, 1)


def test_progress_is_shown_with_the_work_or_not_at_all(catalog: Catalog) -> None:
    _, job, _ = samples.add(catalog, "text")
    catalog.jobs.claim("worker", 60)
    with catalog.database.write() as connection:
        catalog.jobs.advance(connection, job.id, "worker", done=1, total=2)
    with pytest.raises(LeaseLost), catalog.database.write() as connection:
        catalog.jobs.advance(connection, job.id, "thief", done=2, total=2)
    assert (catalog.jobs.get(job.id).done, catalog.jobs.get(job.id).total) == (1, 2)


def test_a_worker_that_is_alone_frees_the_leases_of_the_dead(catalog: Catalog) -> None:
    samples.add(catalog, "text")
    catalog.jobs.claim("dead", 3600)
    assert catalog.jobs.release_all() == 1
    assert catalog.jobs.claim("next", 60) is not None
