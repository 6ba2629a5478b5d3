"""/v1/reindex: documents that another encoder has embedded are found again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.core.encoder import encoder_id
from services.core.guard import Writer
from services.core.reindex import queue
from services.core.schemas import CollectionName
from services.ingest.resources import IngestResources, resources_of
from services.ingest.schemas import JobOut, ReindexOut

router = APIRouter(prefix="/v1")
Resources = Annotated[IngestResources, Depends(resources_of)]


@router.post("/reindex", status_code=202)
def reindex(
    caller: Writer, resources: Resources, collection: Annotated[CollectionName | None, Query()] = None
) -> ReindexOut:
    """Queue a job for each ready document whose vectors are of another encoder than the platform's, and that has none
    yet: its stored passages are embedded anew. Without `collection`: in all that the key may see."""
    if collection is not None:
        caller.require(collection)
    encoder = encoder_id(resources.settings.encoder, resources.settings.models_dir)
    queued = queue(resources.catalog, encoder, collection, caller.collections)
    return ReindexOut(encoder=encoder, jobs=[JobOut.of(job) for job in queued])
