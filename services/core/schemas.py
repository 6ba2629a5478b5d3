"""Pieces of the HTTP schema that more than one service speaks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints

from services.core.jobs import Job
from services.core.types import JobStatus

CollectionName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", min_length=1, max_length=64)
]


def encodable(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character: no tokenizer takes it, no file can hold it."""
    text.encode()  # raises UnicodeEncodeError, a ValueError
    return text


Text = Annotated[str, AfterValidator(encodable)]
# Whoever asks for something, in their own words.
Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(encodable)]
# champion, challenger, previous, the number of a version in the model registry, or the id of a release.
ReleaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._-]{0,119}$")]
# Of a document, job or answer. PostgreSQL refuses to even look for an id with a NUL in it.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]


class BoxOut(BaseModel):
    """Points from the top left corner of the displayed page."""

    left: float
    top: float
    right: float
    bottom: float


class Progress(BaseModel):
    done: int
    total: int
    unit: str

    @classmethod
    def of(cls, job: Job) -> Progress:
        return cls(done=job.done, total=job.total, unit=job.unit)


class JobError(BaseModel):
    code: str
    detail: str

    @classmethod
    def of(cls, job: Job) -> JobError | None:
        return cls(code=job.error_code, detail=job.error_detail or "") if job.error_code else None


class JobRef(BaseModel):
    """Where to follow the job (`url`, with `Accept: text/event-stream` as events) and to cancel it (`url`/cancel)."""

    id: str
    status: JobStatus
    url: str

    @classmethod
    def of(cls, job_id: str, status: JobStatus) -> JobRef:
        return cls(id=job_id, status=status, url=f"/v1/jobs/{job_id}")


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
