"""/v1/answers/{id}/feedback: was the answer right, and what should it have been?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.api.feedback_schemas import FeedbackIn, FeedbackList, FeedbackOut
from services.api.resources import ApiResources, resources_of
from services.core.guard import Reader, Writer
from services.core.http import JSON_BODY_MAX_BYTES, somebody
from services.core.schemas import Id

router = APIRouter(prefix="/v1/answers", max_body_size=JSON_BODY_MAX_BYTES)
Resources = Annotated[ApiResources, Depends(resources_of)]


@router.post("/{answer_id}/feedback", status_code=201)
def give_feedback(
    caller: Writer, resources: Resources, request: Request, response: Response, answer_id: Id, body: FeedbackIn
) -> FeedbackOut:
    """Say whether an answer was right. It becomes questions to evaluate on and to train on, when a release is trained.

    200 with what is there if the same was said already. 404 `not_found` for an unknown answer.
    """
    by = body.by or somebody(request)
    given, new = resources.feedback.give(answer_id, by, body.said(), caller.collections)
    if not new:
        response.status_code = 200
    return FeedbackOut.of(given)


@router.get("/{answer_id}/feedback")
def get_feedback(caller: Reader, resources: Resources, answer_id: Id) -> FeedbackList:
    """Everything that was said of an answer, oldest first."""
    return FeedbackList.of(resources.feedback.of_answer(answer_id, caller.collections))
