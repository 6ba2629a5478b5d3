"""What the eval service says of evaluations over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from services.core.schemas import JobError, JobRef, Progress, ReleaseName, Text, Who, encodable, iso
from services.core.types import JobStatus
from services.eval.named import Named
from services.eval.promote import Meant
from services.eval.release_log import Change
from services.eval.store import Evaluation

REASON_MIN_CHARS, REASON_MAX_CHARS = 15, 1_000


class DatasetOut(BaseModel):
    name: str
    sha256: str


class TrackingOut(BaseModel):
    """What became of the evaluation in MLflow; `detail` says why there is no run."""

    status: Literal["logged", "failed", "off"]
    run_id: str | None
    detail: str | None


class VerdictRef(BaseModel):
    """What the gate said of two releases, in short; `why` has a sentence for each thing that is missing.

    `id` and `url` lead to the whole, with intervals; they are null where the gate could not compare the two.
    """

    id: str | None
    passed: bool
    why: list[str]
    url: str | None

    @classmethod
    def of(cls, facts: dict[str, Any]) -> VerdictRef:
        return cls(**facts, url=f"/v1/verdicts/{facts['id']}" if facts["id"] else None)


class EvaluationOut(BaseModel):
    """`summary` and `tracking` are there once `status` is succeeded: figures of the release, `lead` (the first sentence
    of the first passage) and `best_sentence` (the sentence nearest to the question), each with its 95 % interval.

    `release` is what was asked for, `release_id` what it meant when the evaluation was started (null: the bases alone).
    `against` is the evaluation of the other release, if two were asked side by side; then there is a `verdict` too.
    """

    id: str
    status: JobStatus
    job: JobRef
    progress: Progress
    error: JobError | None
    dataset: DatasetOut
    collection: str
    release: str
    release_id: str | None
    against: str | None
    report_url: str
    summary: dict[str, Any] | None
    tracking: TrackingOut | None
    verdict: VerdictRef | None
    created_at: str | None
    finished_at: str | None

    @classmethod
    def of(cls, evaluation: Evaluation) -> EvaluationOut:
        job = evaluation.job
        return cls(
            id=evaluation.id,
            status=job.status,
            job=JobRef.of(job.id, job.status),
            progress=Progress.of(job),
            error=JobError.of(job),
            dataset=DatasetOut(name=evaluation.dataset.name, sha256=evaluation.dataset.sha256),
            collection=evaluation.collection,
            release=evaluation.release,
            release_id=evaluation.release_id,
            against=evaluation.against_id,
            report_url=f"/v1/evaluations/{evaluation.id}/report",
            summary=evaluation.summary,
            tracking=TrackingOut(**evaluation.tracking) if evaluation.tracking else None,
            verdict=VerdictRef.of(evaluation.verdict) if evaluation.verdict else None,
            created_at=iso(evaluation.created_at),
            finished_at=iso(job.finished_at),
        )


class EvaluationList(BaseModel):
    data: list[EvaluationOut]
    has_more: bool
    next: str | None  # give it back as `after` to read on


class ScoresOut(BaseModel):
    """What each question got, by metric; null where that does not apply."""

    release: str
    questions_sha256: str
    scores: dict[str, dict[str, float | None]]


class ReportOut(EvaluationOut):
    """The evaluation with every question: the row, what was found, and each system's answer with its figures."""

    questions: list[dict[str, Any]]


Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=REASON_MIN_CHARS, max_length=REASON_MAX_CHARS),
    AfterValidator(encodable),
]


class ChangeIn(BaseModel):
    """`by` is whoever asks, in their own words: nothing proves it."""

    model_config = ConfigDict(extra="forbid")

    by: Who | None = None


class RollbackIn(ChangeIn):
    """`reason` is kept in the history; none is needed, because a rollback must not wait for one."""

    reason: Annotated[Text, StringConstraints(strip_whitespace=True, max_length=REASON_MAX_CHARS)] | None = None


class PromotionIn(ChangeIn):
    """`override_reason` makes a release live that the gate did not let pass, and stays in the history for ever. It is
    not kept where there was nothing to override."""

    release: ReleaseName = "challenger"
    override_reason: Reason | None = None


class ChangeOut(BaseModel):
    """One promotion or rollback. `status` is `unfinished` while it is under way, and after a crash until it is settled:
    then nobody has to guess whether it was done. `gate_passed` false: overridden, for the `override_reason`."""

    id: str
    kind: Literal["promotion", "rollback"]
    status: Literal["done", "failed", "unfinished"]
    release: str
    version: str
    from_release: str
    by: str
    created_at: str | None
    ended_at: str | None
    gate_passed: bool | None
    verdict_id: str | None
    verdict_url: str | None
    override_reason: str | None
    reason: str | None
    detail: str | None

    @classmethod
    def of(cls, change: Change) -> ChangeOut:
        meant = Meant(**change.body)
        return cls(
            id=change.id,
            kind=change.kind,
            status=change.end or "unfinished",
            release=meant.release,
            version=meant.version,
            from_release=meant.from_release,
            by=meant.by,
            created_at=iso(change.created_at),
            ended_at=iso(change.ended_at),
            gate_passed=meant.gate_passed,
            verdict_id=meant.verdict_id,
            verdict_url=f"/v1/verdicts/{meant.verdict_id}" if meant.verdict_id else None,
            override_reason=meant.override_reason,
            reason=meant.reason,
            detail=change.told["detail"] if change.told else None,
        )


class NamedOut(BaseModel):
    """`version` is null for the shipped release where nothing was promoted yet."""

    release: str | None
    version: str | None

    @classmethod
    def of(cls, named: Named | None) -> NamedOut | None:
        return cls(release=named.release, version=named.version) if named else None


class AliasesOut(BaseModel):
    champion: NamedOut | None
    challenger: NamedOut | None
    previous: NamedOut | None


class ReleasesOut(BaseModel):
    """`aliases` is null, and `registry` says why, while the registry does not answer; the history is always there."""

    aliases: AliasesOut | None
    registry: str
    data: list[ChangeOut]
    has_more: bool
    next: str | None  # give it back as `after` to read on


class VerdictOut(BaseModel):
    """The whole verdict, as `capstone gate` prints it, with the evaluations that it was made from."""

    model_config = ConfigDict(extra="allow")

    id: str
    champion_evaluation_id: str
    challenger_evaluation_id: str
    passed: bool
    why: list[str]
    metrics: dict[str, Any] = Field(description="by name: means, estimate with interval, margin, held, gained, worst")
