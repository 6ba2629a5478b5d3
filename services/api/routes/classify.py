"""POST /v1/classify."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.api.classify_schemas import ClassificationOut, ClassifyIn, ClassifyOut
from services.api.resources import ApiResources, resources_of
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.streams import run_until_hang_up

router = APIRouter(prefix="/v1", max_body_size=JSON_BODY_MAX_BYTES)


@router.post("/classify")
async def classify(
    resources: Annotated[ApiResources, Depends(resources_of)], request: Request, body: ClassifyIn
) -> ClassifyOut:
    """A label for each input, with the calibrated probability of every label.

    An input longer than the classifier reads is cut, the longer of two texts first, and its result says so.
    """
    classifiers = resources.classifiers
    served = classifiers.named(body.model)
    classifiers.admission.check()
    results = await run_until_hang_up(request, lambda stop: classifiers.classify(served, body.pairs(), stop))
    return ClassifyOut(
        model=served.name, results=[ClassificationOut.of(result) for result in results], lineage=served.lineage
    )
