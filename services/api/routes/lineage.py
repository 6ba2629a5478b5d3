"""/v1/lineage: what an answer or a classification came from, and how the same request comes out now."""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.api.lineage import read_lineage
from services.api.lineage import replay as replay_lineage
from services.api.lineage_schemas import AnswerReplay, ClassificationReplay, LineageOut
from services.api.resources import ApiResources, resources_of
from services.core.guard import Reader
from services.core.keys import Caller
from services.core.schemas import Id
from services.core.streams import run_until_hang_up

router = APIRouter(prefix="/v1/lineage")
Resources = Annotated[ApiResources, Depends(resources_of)]


@router.get("/{lineage_id}")
def get_lineage(caller: Reader, resources: Resources, lineage_id: Id) -> LineageOut:
    """Release, models, state of the index, passages, prompt, decoding, training data and commit, by the id that an
    answer or a classification came with."""
    return read_lineage(resources.catalog, lineage_id, caller)


@router.post("/{lineage_id}/replay")
async def replay(
    caller: Reader, resources: Resources, request: Request, lineage_id: Id
) -> AnswerReplay | ClassificationReplay:
    """Ask the same once more, of the models and the index of now, and tell what differs: in what was said, and in what
    it came from. 409 if what was asked is not known any more."""
    return await run_until_hang_up(request, lambda stop: _replay(resources, lineage_id, caller, stop))


def _replay(
    resources: ApiResources, lineage_id: str, caller: Caller, stop: threading.Event
) -> AnswerReplay | ClassificationReplay:
    with resources.releases.lease() as served:
        return replay_lineage(resources.catalog, served.answerer, served.classifiers, lineage_id, caller, stop)
