"""/v1/retraining-runs: what alerts have set going, how far it is, and the approval that a challenger waits for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from services.core.guard import Admin, ReaderOfAll
from services.core.http import signed
from services.core.schemas import Id
from services.eval.resources import EvalResources, resources_of
from services.eval.retrain_schemas import RetrainingList, RetrainingOut
from services.eval.schemas import ChangeIn

router = APIRouter(prefix="/v1/retraining-runs")
Resources = Annotated[EvalResources, Depends(resources_of)]


@router.get("")
def list_runs(
    _: ReaderOfAll,
    resources: Resources,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Id | None, Query()] = None,
) -> RetrainingList:
    """Retraining runs, newest first."""
    found = resources.retraining.newest(after=after, limit=limit + 1)
    more = len(found) > limit
    return RetrainingList(
        data=[RetrainingOut.of(run) for run in found[:limit]],
        has_more=more,
        next=found[limit - 1].id if more else None,
    )


@router.get("/{run_id}")
def get_run(_: ReaderOfAll, resources: Resources, run_id: Id) -> RetrainingOut:
    """One run. Its `job` tells progress as events, and can be cancelled."""
    return RetrainingOut.of(resources.retraining.get(run_id))


@router.post("/{run_id}/approve")
def approve_run(
    _: Admin, resources: Resources, request: Request, run_id: Id, body: ChangeIn | None = None
) -> RetrainingOut:
    """Make the challenger of a run live that has passed the gate and waits. 409 `not_waiting_approval`; 409
    `gate_not_passed` if another release has become live since then; 409 `release_in_progress`, 503 `unavailable`."""
    by = signed(request, body.by if body else None)
    return RetrainingOut.of(resources.approvals.approve(run_id, by))
