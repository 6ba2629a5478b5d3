"""/v1/releases: which release is live, which were, and why. /v1/verdicts: what the gate said."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from services.core.aliases import CHALLENGER, PREVIOUS
from services.core.errors import ModelProblem, Unavailable
from services.core.guard import Admin, Reader, ReaderOfAll
from services.core.http import signed
from services.core.schemas import Id
from services.eval.release_log import Change
from services.eval.resources import EvalResources, resources_of
from services.eval.schemas import (
    AliasesOut,
    ChangeOut,
    NamedOut,
    PromotionIn,
    ReleasesOut,
    RollbackIn,
    VerdictOut,
)

router = APIRouter(prefix="/v1")
Resources = Annotated[EvalResources, Depends(resources_of)]


@router.post("/releases", status_code=201)
def promote(_: Admin, resources: Resources, request: Request, body: PromotionIn) -> ChangeOut:
    """Make a release live: serving processes notice the alias, load it beside the old one, and swap.

    409 `gate_not_passed`, with the `verdict` if there is one, unless the gate let exactly this release pass against
    exactly the one that is live, or `override_reason` says why it should be live all the same. 409
    `release_in_progress` if another change is under way, 503 `unavailable` if the registry does not answer.
    """
    who = signed(request, body.by)
    return ChangeOut.of(resources.promotions.promote(body.release, by=who, override_reason=body.override_reason))


@router.post("/releases/rollback", status_code=201)
def roll_back(_: Admin, resources: Resources, request: Request, body: RollbackIn | None = None) -> ChangeOut:
    """Make the release live again that was before: `champion` and `previous` swap, so a second call undoes the first.
    409 `nothing_to_roll_back`, 409 `release_in_progress`, 503 `unavailable`."""
    given = body or RollbackIn()
    who = signed(request, given.by)
    return ChangeOut.of(resources.promotions.roll_back(by=who, reason=given.reason or None))


@router.get("/releases")
def list_releases(
    _: ReaderOfAll,
    resources: Resources,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Id | None, Query()] = None,
) -> ReleasesOut:
    """What each alias names now, and every promotion and rollback, newest first."""
    found: list[Change] = resources.promotions.history(after=after, limit=limit + 1)
    more = len(found) > limit
    aliases, registry = _aliases(resources)
    return ReleasesOut(
        aliases=aliases,
        registry=registry,
        data=[ChangeOut.of(change) for change in found[:limit]],
        has_more=more,
        next=found[limit - 1].id if more else None,
    )


@router.get("/verdicts/{verdict_id}")
def get_verdict(caller: Reader, resources: Resources, verdict_id: Id) -> VerdictOut:
    return VerdictOut.model_validate(resources.verdicts.get(verdict_id, caller.collections).facts())


def _aliases(resources: EvalResources) -> tuple[AliasesOut | None, str]:
    names = resources.names
    try:
        out = AliasesOut(
            champion=NamedOut.of(names.live()),
            challenger=NamedOut.of(names.find(CHALLENGER)),
            previous=NamedOut.of(names.find(PREVIOUS)),
        )
    except (Unavailable, ModelProblem) as error:  # or the shipped release is not there to be named
        return None, error.detail
    return out, "ok"
