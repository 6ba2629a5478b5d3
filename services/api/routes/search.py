"""POST /v1/search."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.api.resources import ApiResources, resources_of
from services.api.retrieve import Retrieved
from services.api.schemas import SearchIn, SearchOut
from services.core.guard import Reader
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.purpose import for_evaluation
from services.core.streams import run_until_hang_up

router = APIRouter(prefix="/v1", max_body_size=JSON_BODY_MAX_BYTES)


@router.post("/search")
async def search(
    caller: Reader, resources: Annotated[ApiResources, Depends(resources_of)], request: Request, body: SearchIn
) -> SearchOut:
    """The best passages for a query, best first. Passages that `filter` leaves out do not take the place of others."""
    caller.require(body.collection)
    found = await run_until_hang_up(request, lambda stop: _search(resources, body, stop))
    if not for_evaluation(request):
        resources.metrics.searched(found)
    return SearchOut.of(found)


def _search(resources: ApiResources, body: SearchIn, stop: threading.Event) -> Retrieved:
    """Where the classifier reads passages, which is most of the work, one search does so at a time."""
    wanted = body.filter.wanted() if body.filter else None
    with resources.releases.lease(body.release, stop) as served:
        reads = served.retriever.plan.rerank_depth > 0
        with resources.reading.slot(stop) if reads else nullcontext():
            return served.retriever.search(body.collection, body.query, body.k, wanted)
