"""What the ingest service says over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from services.core.catalog import Document
from services.core.jobs import Job
from services.core.schemas import BoxOut, iso
from services.core.types import JobStatus, Page, PageKind


class Progress(BaseModel):
    done: int
    total: int
    unit: str


class JobError(BaseModel):
    code: str
    detail: str


class JobOut(BaseModel):
    id: str
    kind: str
    document_id: str
    status: JobStatus
    progress: Progress
    error: JobError | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None

    @classmethod
    def of(cls, job: Job) -> JobOut:
        return cls(
            id=job.id,
            kind=job.kind,
            document_id=job.document_id,
            status=job.status,
            progress=Progress(done=job.done, total=job.total, unit=job.unit),
            error=JobError(code=job.error_code, detail=job.error_detail or "") if job.error_code else None,
            created_at=iso(job.created_at),
            started_at=iso(job.started_at),
            finished_at=iso(job.finished_at),
        )


class JobRef(BaseModel):
    id: str
    status: JobStatus
    url: str


class DocumentOut(BaseModel):
    id: str
    name: str
    sha256: str
    status: Literal["queued", "running", "ready", "failed", "cancelled"]
    job: JobRef
    collection: str
    bytes: int
    pages: int | None
    chunks: int | None
    title: str | None
    author: str | None
    created_at: str | None

    @classmethod
    def of(cls, document: Document) -> DocumentOut:
        job_status = "succeeded" if document.status == "ready" else document.status
        return cls(
            id=document.id,
            name=document.name,
            sha256=document.sha256,
            status=document.status,
            job=JobRef(id=document.job_id, status=JobStatus(job_status), url=f"/v1/jobs/{document.job_id}"),
            collection=document.collection,
            bytes=document.bytes,
            pages=document.page_count,
            chunks=document.chunk_count,
            title=document.title,
            author=document.author,
            created_at=iso(document.created_at),
        )


class DocumentList(BaseModel):
    data: list[DocumentOut]
    has_more: bool
    next: str | None  # give it back as `after` to read on


class WordOut(BaseModel):
    text: str
    char_start: int
    char_end: int
    box: BoxOut


class PageOut(BaseModel):
    document_id: str
    number: int
    label: str
    width: float
    height: float
    kind: PageKind
    text: str
    words: list[WordOut]

    @classmethod
    def of(cls, document_id: str, page: Page) -> PageOut:
        return cls(
            document_id=document_id,
            number=page.number,
            label=page.label,
            width=page.width,
            height=page.height,
            kind=page.kind,
            text=page.text,
            words=[
                WordOut(
                    text=page.text[word.start : word.end],
                    char_start=word.start,
                    char_end=word.end,
                    box=BoxOut(**word.box._asdict()),
                )
                for word in page.words
            ],
        )


class CollectionOut(BaseModel):
    name: str
    documents: int
    pages: int
    chunks: int


class CollectionList(BaseModel):
    data: list[CollectionOut]
