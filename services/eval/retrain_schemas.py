"""What the eval service says of alerts and retraining runs over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from services.core.schemas import JobError, JobRef, Progress, iso
from services.eval.alerts import Outcome, Told
from services.eval.retraining import Run


class AlertOut(BaseModel):
    """`outcome`: opened; duplicate (a run is open), cooling_down, limit (of a day) or off (nothing to train is
    configured); replayed (it has opened `run` already, or is over); resolved; ignored (not for the loop)."""

    fingerprint: str
    name: str
    outcome: Outcome
    run: str | None


class AlertsOut(BaseModel):
    """`run` is the run that this notification has opened."""

    run: str | None
    alerts: list[AlertOut]

    @classmethod
    def of(cls, told: Sequence[Told]) -> AlertsOut:
        opened = next((one.run_id for one in told if one.outcome == "opened"), None)
        rows = [
            AlertOut(fingerprint=one.fingerprint, name=one.name, outcome=one.outcome, run=one.run_id) for one in told
        ]
        return cls(run=opened, alerts=rows)


class StepOut(BaseModel):
    name: str
    began_at: str | None
    ended_at: str | None


class ReasonOut(BaseModel):
    """The alert that opened a run."""

    name: str
    labels: dict[str, str]
    starts_at: str | None


class RetrainingOut(BaseModel):
    """`status`: queued, running, failed (`error` says why), cancelled; then what came of it: refused by the gate,
    waiting_approval, promoted. `detail` says why.

    `snapshot` is the hash of what it is trained and judged on, as that was when the alert came; `facts` count what that
    gave: questions to judge on, candidates to train on, and feedback that could not be used. `log` is the end of what
    the training printed.
    """

    id: str
    status: str
    job: JobRef
    progress: Progress
    error: JobError | None
    alert: ReasonOut
    snapshot: str
    facts: dict[str, Any] | None
    steps: list[StepOut]
    log: str
    version: str | None
    release: str | None
    evaluation: str | None
    verdict: str | None
    verdict_url: str | None
    detail: str | None
    decided_by: str | None
    created_at: str | None
    ended_at: str | None

    @classmethod
    def of(cls, run: Run) -> RetrainingOut:
        alert = run.alert
        steps = [
            StepOut(name=step["name"], began_at=iso(step["began_at"]), ended_at=iso(step.get("ended_at")))
            for step in run.steps
        ]
        return cls(
            id=run.id,
            status=run.status,
            job=JobRef.of(run.job.id, run.job.status),
            progress=Progress.of(run.job),
            error=JobError.of(run.job),
            alert=ReasonOut(name=alert["name"], labels=alert["labels"], starts_at=iso(alert["starts_at"])),
            snapshot=run.snapshot_sha256,
            facts=run.facts,
            steps=steps,
            log=run.log,
            version=run.version,
            release=run.release,
            evaluation=run.evaluation_id,
            verdict=run.verdict_id,
            verdict_url=f"/v1/verdicts/{run.verdict_id}" if run.verdict_id else None,
            detail=run.detail,
            decided_by=run.decided_by,
            created_at=iso(run.created_at),
            ended_at=iso(run.ended_at or run.job.finished_at),
        )


class RetrainingList(BaseModel):
    data: list[RetrainingOut]
    has_more: bool
    next: str | None  # give it back as `after` to read on
