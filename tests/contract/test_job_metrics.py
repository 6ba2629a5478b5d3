"""The figures of jobs, on both databases."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import insert, update

from services.core.catalog import Catalog
from services.core.job_metrics import JobFigures
from services.core.tables import jobs
from services.core.types import JobKind, JobStatus
from tests import samples

HOUR_S = 3600.0


@pytest.fixture
def figures(catalog: Catalog) -> JobFigures:
    return JobFigures(catalog.database, JobKind.ingest, "ingest", "pages")


def told(figures: JobFigures) -> dict[str, float]:
    """Values by name and, if there is one, label."""
    return {
        ":".join([sample.name, *sample.labels.values()]): sample.value
        for metric in figures.read()
        for sample in metric.samples
    }


def add_old(catalog: Catalog, age_s: float, status: JobStatus, code: str | None = None, done: int = 0) -> str:
    """A job as it is after `age_s` seconds."""
    at = time.time() - age_s
    job_id = f"job_{int(1000 * at):012x}{len(code or ''):016x}"
    row: dict[str, Any] = {"id": job_id, "kind": JobKind.ingest, "subject_id": "doc"}
    row |= {"status": status, "done": done, "total": done, "unit": "pages", "error_code": code, "created_at": at}
    row |= {"cancel_requested": False, "attempts": 1}
    with catalog.database.write() as connection:
        connection.execute(insert(jobs).values(row))
    return job_id


def end(catalog: Catalog, job_id: str, code: str) -> None:
    with catalog.database.write() as connection:
        values = {"status": JobStatus.failed, "error_code": code}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))


def test_an_empty_queue(figures: JobFigures) -> None:
    assert told(figures) == {
        "ingest_jobs_open": 0,
        "ingest_job_oldest_age_seconds": 0,
        "ingest_jobs_ended_total:succeeded": 0,
        "ingest_jobs_ended_total:failed": 0,
        "ingest_jobs_ended_total:cancelled": 0,
        "ingest_pages_total": 0,
    }


def test_jobs_by_what_became_of_them(catalog: Catalog, figures: JobFigures) -> None:
    samples.publish(catalog, "one\ntwo")
    samples.add(catalog, "three")
    job = catalog.jobs.claim("worker", 60)
    assert job is not None
    catalog.jobs.end(job.id, "worker", JobStatus.failed, error=("no_text", "There is none."))
    samples.add(catalog, "four")
    _, queued, _ = samples.add(catalog, "five")
    catalog.jobs.cancel(queued.id)
    found = told(figures)
    assert 0 < found.pop("ingest_job_oldest_age_seconds") < 60
    assert found == {
        "ingest_jobs_open": 1,
        "ingest_jobs_ended_total:succeeded": 1,
        "ingest_jobs_ended_total:failed": 1,
        "ingest_jobs_ended_total:cancelled": 1,
        "ingest_failures_total:no_text": 1,
        "ingest_pages_total": 2,
    }
    evaluations = JobFigures(catalog.database, JobKind.evaluation, "evaluation")
    assert sum(told(evaluations).values()) == 0


def test_old_jobs_are_counted_once_and_none_is_missed(catalog: Catalog, figures: JobFigures) -> None:
    add_old(catalog, 9 * HOUR_S, JobStatus.succeeded, done=5)
    open_job = add_old(catalog, 8 * HOUR_S, JobStatus.running)
    add_old(catalog, 7 * HOUR_S, JobStatus.succeeded, done=7)
    for _ in range(3):
        found = told(figures)
        assert (found["ingest_jobs_ended_total:succeeded"], found["ingest_pages_total"]) == (2, 12)
        assert found["ingest_job_oldest_age_seconds"] == pytest.approx(8 * HOUR_S, abs=60)
    end(catalog, open_job, "worker_crashed")
    samples.publish(catalog, "a page")
    for _ in range(3):
        found = told(figures)
        assert (found["ingest_jobs_ended_total:succeeded"], found["ingest_pages_total"]) == (3, 13)
        assert (found["ingest_failures_total:worker_crashed"], found["ingest_jobs_open"]) == (1, 0)
