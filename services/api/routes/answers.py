"""/v1/answers: a question, as one JSON answer or as a stream of events, and the log of what was answered."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from services.api.answer import Question
from services.api.resources import ApiResources, resources_of
from services.api.schemas import AnswerIn, AnswerOut, LoggedAnswer
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.schemas import Id
from services.core.streams import event_stream, run_until_hang_up, wants_sse

router = APIRouter(prefix="/v1/answers", max_body_size=JSON_BODY_MAX_BYTES)
Resources = Annotated[ApiResources, Depends(resources_of)]


@router.post("", response_model=AnswerOut, responses={200: {"content": {"text/event-stream": {}}}})
async def answer(resources: Resources, request: Request, body: AnswerIn) -> Any:
    """Answer from the documents, each claim with a quote.

    With `Accept: text/event-stream`: `passages`, `delta`*, `citation`*, `final`; `error` ends a stream that fails.
    """
    wanted = body.filter.wanted() if body.filter else None
    question = Question(body.question, body.collection, body.k, body.decoding(), wanted)
    resources.admission.check()
    if wants_sse(request):
        return event_stream(lambda stop: resources.answerer.events(question, stop))
    return await run_until_hang_up(request, lambda stop: resources.answerer.answer(question, stop))


@router.get("/{answer_id}")
def get_answer(resources: Resources, answer_id: Id) -> LoggedAnswer:
    """An answer given before, with its question and the chunks that were read."""
    return LoggedAnswer.model_validate(resources.catalog.answer(answer_id))
