"""/v1/answers: a question, as one JSON answer or as a stream of events, and the log of what was answered."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from services.api.answer import Question, answer_of
from services.api.resources import ApiResources, resources_of
from services.api.schemas import AnswerIn, AnswerOut, LoggedAnswer
from services.core.aliases import CHAMPION
from services.core.guard import Reader
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.purpose import for_evaluation
from services.core.schemas import Id
from services.core.streams import Event, event_stream, run_until_hang_up, wants_sse

router = APIRouter(prefix="/v1/answers", max_body_size=JSON_BODY_MAX_BYTES)
Resources = Annotated[ApiResources, Depends(resources_of)]


@router.post("", response_model=AnswerOut, responses={200: {"content": {"text/event-stream": {}}}})
async def answer(caller: Reader, resources: Resources, request: Request, body: AnswerIn) -> Any:
    """Answer from the documents, each claim with a quote.

    With `Accept: text/event-stream`: `passages`, `delta`*, `citation`*, `final`; `error` ends a stream that fails.
    404 `unknown_release` and 409 `release_refused` if another `release` than the champion is to answer and cannot.
    What the champion answers counts for drift, in figures, unless `capture` is false or an evaluation asks.
    """
    caller.require(body.collection)
    wanted = body.filter.wanted() if body.filter else None
    decoding, evaluation = body.decoding(), for_evaluation(request)
    question = Question(body.question, body.collection, body.k, decoding, wanted, evaluation=evaluation)
    resources.reading.check()
    resources.admission.check()
    if not wants_sse(request):
        return await run_until_hang_up(request, lambda stop: _answer(resources, body, question, stop))
    if body.release != CHAMPION:  # what is wrong with it is told by the status, and that before the stream begins
        await run_until_hang_up(request, lambda stop: _require(resources, body.release, stop))
    return event_stream(lambda stop: _events(resources, body, question, stop))


def _answer(resources: ApiResources, body: AnswerIn, question: Question, stop: threading.Event) -> AnswerOut:
    """Raises ClientClosedRequest if `stop` is set before it is ready."""
    return answer_of(_events(resources, body, question, stop))


def _events(resources: ApiResources, body: AnswerIn, question: Question, stop: threading.Event) -> Iterator[Event]:
    """By one release from the first event to the last."""
    live = body.release == CHAMPION
    counts = live and body.capture and not question.evaluation
    notice = functools.partial(resources.recorder.offer, question) if counts else None
    with resources.releases.lease(body.release, stop) as served:
        for event in served.answerer.events(question, stop, notice):
            if live and isinstance(event.data, AnswerOut):
                resources.shadow.offer(question, event.data)
            yield event


def _require(resources: ApiResources, release: str, stop: threading.Event) -> None:
    with resources.releases.lease(release, stop):
        pass


@router.get("/{answer_id}")
def get_answer(caller: Reader, resources: Resources, answer_id: Id) -> LoggedAnswer:
    """An answer given before, with its question and the chunks that were read."""
    return LoggedAnswer.model_validate(resources.catalog.answer(answer_id, caller.collections))
