"""POST /v1/classify."""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.api.classify_schemas import ClassifyIn, ClassifyOut
from services.api.resources import ApiResources, resources_of
from services.core.aliases import CHAMPION
from services.core.guard import Reader
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.keys import Caller
from services.core.streams import run_until_hang_up

router = APIRouter(prefix="/v1", max_body_size=JSON_BODY_MAX_BYTES)


@router.post("/classify")
async def classify(
    caller: Reader, resources: Annotated[ApiResources, Depends(resources_of)], request: Request, body: ClassifyIn
) -> ClassifyOut:
    """A label for each input, with the calibrated probability of every label.

    An input longer than the classifier reads is cut, the longer of two texts first, and its result says so.
    """
    if body.release == CHAMPION:
        resources.live.classifiers.named(body.model)  # one that is not there is not waited for
    resources.classifying.check()
    return await run_until_hang_up(request, lambda stop: _classify(resources, body, caller, stop))


def _classify(resources: ApiResources, body: ClassifyIn, caller: Caller, stop: threading.Event) -> ClassifyOut:
    with resources.releases.lease(body.release, stop) as served:
        classifiers = served.classifiers
        return classifiers.classify(classifiers.named(body.model), body.pairs(), stop, key=caller.key)
