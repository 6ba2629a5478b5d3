"""POST /v1/search."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.api.resources import ApiResources, resources_of
from services.api.schemas import SearchIn, SearchOut
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.purpose import for_evaluation

router = APIRouter(prefix="/v1", max_body_size=JSON_BODY_MAX_BYTES)


@router.post("/search")
def search(resources: Annotated[ApiResources, Depends(resources_of)], request: Request, body: SearchIn) -> SearchOut:
    """The best passages for a query, best first. Passages that `filter` leaves out do not take the place of others."""
    wanted = body.filter.wanted() if body.filter else None
    with resources.releases.lease(body.release) as served:
        found = served.retriever.search(body.collection, body.query, body.k, wanted)
    if not for_evaluation(request):
        resources.metrics.searched(found)
    return SearchOut.of(found)
