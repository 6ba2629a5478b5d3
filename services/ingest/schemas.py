"""What the ingest service says over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from services.core.catalog import Document
from services.core.jobs import Job
from services.core.schemas import BoxOut, JobError, JobRef, Progress, iso
from services.core.types import JobKind, JobStatus, Page, PageKind


class JobOut(BaseModel):
    id: str
    kind: JobKind
    document_id: str | None  # what it is about: one of these
    evaluation_id: str | None = None
    drift_window_id: str | None = None
    retraining_run_id: str | None = None
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
            document_id=job.subject_id if job.kind in (JobKind.ingest, JobKind.embed) else None,
            evaluation_id=job.subject_id if job.kind == JobKind.evaluation else None,
            drift_window_id=job.subject_id if job.kind == JobKind.drift else None,
            retraining_run_id=job.subject_id if job.kind == JobKind.retraining else None,
            status=job.status,
            progress=Progress.of(job),
            error=JobError.of(job),
            created_at=iso(job.created_at),
            started_at=iso(job.started_at),
            finished_at=iso(job.finished_at),
        )


class ReindexOut(BaseModel):
    encoder: str  # the platform's now
    jobs: list[JobOut]  # one for each document that waited for it


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
    hidden_text_pages: list[int] | None  # with text that cannot be seen on them; it is never retrieved
    scanned_pages: list[int] | None  # with text that lies unpainted over a picture, as OCR leaves it
    encoder: str | None  # that made its vectors: it is found while this is the platform's
    created_at: str | None

    @classmethod
    def of(cls, document: Document) -> DocumentOut:
        job_status = "succeeded" if document.status == "ready" else document.status
        return cls(
            id=document.id,
            name=document.name,
            sha256=document.sha256,
            status=document.status,
            job=JobRef.of(document.job_id, JobStatus(job_status)),
            collection=document.collection,
            bytes=document.bytes,
            pages=document.page_count,
            chunks=document.chunk_count,
            title=document.title,
            author=document.author,
            hidden_text_pages=document.hidden_text_pages,
            scanned_pages=document.scanned_pages,
            encoder=document.encoder_id,
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
    hidden_chars: int | None  # not in `text`: they cannot be seen on the page
    scanned: bool | None
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
            hidden_chars=page.hidden_chars,
            scanned=page.scanned,
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
