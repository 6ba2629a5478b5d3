"""What the eval service says of drift over HTTP."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from services.core.schemas import Id, JobError, JobRef, iso
from services.core.types import JobStatus
from services.eval.drift_store import Reference, State, Window


class TestOut(BaseModel):
    """`score` above `threshold` is drift. Of the `questions` it is the squared distance of their vectors (MMD), of a
    figure -log10 of the p-value."""

    name: str
    score: float
    threshold: float
    p_value: float
    drift: bool


class WindowOut(BaseModel):
    """`number` counts full windows after the reference; null for one that somebody wanted judged, which has no part in
    an alarm. `drift` and `tests` are there once `status` is succeeded; `report_url` while the page is kept."""

    id: str
    number: int | None
    reference: str
    rows: int
    status: JobStatus
    job: JobRef
    error: JobError | None
    drift: bool | None
    tests: list[TestOut] | None
    report_url: str | None
    created_at: str | None
    judged_at: str | None

    @classmethod
    def of(cls, window: Window) -> WindowOut:
        return cls(
            id=window.id,
            number=window.number,
            reference=window.reference_id,
            rows=window.row_count,
            status=window.status,
            job=JobRef.of(window.job_id, window.status),
            error=JobError(code=window.error[0], detail=window.error[1]) if window.error else None,
            drift=window.drift,
            tests=[TestOut(**test) for test in window.tests] if window.tests is not None else None,
            report_url=f"/v1/drift/reports/{window.id}" if window.report else None,
            created_at=iso(window.created_at),
            judged_at=iso(window.judged_at),
        )


class ReferenceOut(BaseModel):
    """What windows are compared with: frozen, of one release and one encoder. `sha256` is that of its rows."""

    id: str
    release: str
    encoder: str
    version: int
    rows: int
    sha256: str
    created_at: str | None

    @classmethod
    def of(cls, reference: Reference) -> ReferenceOut:
        return cls(
            id=reference.id,
            release=reference.kind.release,
            encoder=reference.kind.encoder,
            version=reference.version,
            rows=reference.row_count,
            sha256=reference.sha256,
            created_at=iso(reference.created_at),
        )


class WaitingOut(BaseModel):
    """Captures that wait for there to be enough: for the first reference, then for the next window."""

    captured: int
    needed: int


class DriftOut(BaseModel):
    """Of the release that gave the newest captured answer; null if nothing is captured. `alarm`: the last windows, as
    many as `in_a_row`, have drifted."""

    release: str | None
    alarm: bool
    in_a_row: int
    reference: ReferenceOut | None
    waiting: WaitingOut
    windows: list[WindowOut]

    @classmethod
    def of(cls, state: State, *, in_a_row: int, reference_rows: int, window_rows: int) -> DriftOut:
        return cls(
            release=state.kind.release if state.kind else None,
            alarm=state.alarm,
            in_a_row=in_a_row,
            reference=ReferenceOut.of(state.reference) if state.reference else None,
            waiting=WaitingOut(captured=state.captured, needed=window_rows if state.reference else reference_rows),
            windows=[WindowOut.of(window) for window in state.windows],
        )


class WantedIn(BaseModel):
    """`reference` is an id; without one it is the newest of the release that answers now."""

    model_config = ConfigDict(extra="forbid")

    reference: Id | None = None
