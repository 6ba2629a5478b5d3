"""/v1/jobs: progress as JSON or as a stream of events, and cancelling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from services.core.guard import Reader, Writer
from services.core.jobs import JobQueue
from services.core.schemas import Id
from services.core.streams import Event, event_stream, wants_sse
from services.ingest.resources import IngestResources, resources_of
from services.ingest.schemas import JobOut

router = APIRouter(prefix="/v1/jobs")
Resources = Annotated[IngestResources, Depends(resources_of)]


@router.get("/{job_id}", response_model=JobOut, responses={200: {"content": {"text/event-stream": {}}}})
def get_job(caller: Reader, resources: Resources, request: Request, job_id: Id) -> Any:
    """The job as it is now. With `Accept: text/event-stream`: `progress` at each change, then `final`."""
    jobs = resources.catalog.jobs
    now = JobOut.of(jobs.get(job_id, caller.collections))
    if not wants_sse(request):
        return now
    return event_stream(lambda stop: _follow(jobs, now, resources.settings.job_poll_s, stop))


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(caller: Writer, resources: Resources, job_id: Id) -> JobOut:
    """Ask a job to stop: at once while it is queued, within a moment while it runs. 409 once it has ended."""
    return JobOut.of(resources.catalog.jobs.cancel(job_id, caller.collections))


def _follow(jobs: JobQueue, job: JobOut, poll_s: float, stop: threading.Event) -> Iterator[Event]:
    while not job.status.finished:
        yield Event("progress", job)
        seen = job
        while job == seen:
            if stop.wait(poll_s):
                return
            job = JobOut.of(jobs.get(job.id))
    yield Event("final", job)
