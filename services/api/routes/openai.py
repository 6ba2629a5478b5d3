"""POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models: what the official OpenAI clients call."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request

from services.api.generate import Finish, model_name
from services.api.openai_schemas import ChatIn, EmbeddingsIn
from services.api.resources import ApiResources, resources_of
from services.api.schemas import Usage
from services.api.watched import Pieces, watched
from services.core.errors import CapstoneError, InvalidRequest, NotFound
from services.core.guard import READ
from services.core.http import JSON_BODY_MAX_BYTES
from services.core.problems import problem_body
from services.core.streams import Event, event_stream, run_until_hang_up
from services.core.tables import new_id
from services.core.tracing import Spans

router = APIRouter(prefix="/v1", max_body_size=JSON_BODY_MAX_BYTES)
Resources = Annotated[ApiResources, Depends(resources_of)]


@router.get("/models", dependencies=[READ])
def list_models(resources: Resources) -> dict[str, Any]:
    """The generator, the encoder and the classifiers, by the names under which requests may ask for them."""
    return {"object": "list", "data": _models(resources)}


@router.get("/models/{model}", dependencies=[READ])
def get_model(resources: Resources, model: str) -> dict[str, Any]:
    found = next((one for one in _models(resources) if one["id"] == model), None)
    if found is None:
        raise NotFound(f"There is no model {model!r}. GET /v1/models lists what there is.")
    return found


@router.post("/chat/completions", dependencies=[READ], responses={200: {"content": {"text/event-stream": {}}}})
async def complete_chat(resources: Resources, request: Request, body: ChatIn) -> Any:
    """The generator by itself, without retrieval. Greedy unless asked otherwise."""
    _require(body.model, resources.live.generator.id)
    resources.admission.check()
    completion_id, created = new_id("chatcmpl"), int(time.time())
    head = {"id": completion_id, "created": created, "model": body.model}
    if body.stream:
        return event_stream(lambda stop: _chunks(resources, body, head, stop))
    text, finish = await run_until_hang_up(request, lambda stop: _complete(resources, body, completion_id, stop))
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish.reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": Usage.of(finish).model_dump()}


@router.post("/embeddings", dependencies=[READ])
def embed(resources: Resources, body: EmbeddingsIn) -> dict[str, Any]:
    """Unit vectors of texts. A text longer than the encoder reads is refused, never cut silently."""
    encoder = resources.encoder
    _require(body.model, encoder.id)
    if body.dimensions not in (None, encoder.dim):
        raise InvalidRequest(f"dimensions: this encoder gives {encoder.dim} and cannot give another number.")
    texts = body.texts()
    lengths = [len(encoder.token_spans(text)) for text in texts]
    for index, length in enumerate(lengths):
        if length > encoder.max_tokens:
            raise InvalidRequest(f"input {index} has {length} tokens; the encoder reads at most {encoder.max_tokens}.")
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, body.encoding_format)}
        for index, vector in enumerate(encoder.encode(texts))
    ]
    usage = {"prompt_tokens": sum(lengths), "total_tokens": sum(lengths)}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def _complete(resources: ApiResources, body: ChatIn, completion_id: str, stop: threading.Event) -> tuple[str, Finish]:
    pieces = list(_generate(resources, body, completion_id, stop))
    finish = pieces.pop()
    assert isinstance(finish, Finish)
    return "".join(str(piece) for piece in pieces), finish


def _chunks(resources: ApiResources, body: ChatIn, head: dict[str, Any], stop: threading.Event) -> Iterator[Event]:
    """Chunks as OpenAI sends them: role, pieces, finish reason, usage if asked for, [DONE]."""

    def chunk(delta: dict[str, str], reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return Event(None, {**head, "object": "chat.completion.chunk", "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    try:
        for piece in _generate(resources, body, head["id"], stop):
            if isinstance(piece, str):
                yield chunk({"content": piece})
            else:
                yield chunk({}, piece.reason)
                if body.stream_options and body.stream_options.include_usage:
                    usage = Usage.of(piece).model_dump()
                    yield Event(None, {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    except CapstoneError as error:  # OpenAI's clients look for a member `error`, not for an event of that name
        yield Event(None, {"error": {**problem_body(error), "message": error.detail, "type": error.code}})
    yield Event(None, "[DONE]")


def _generate(
    resources: ApiResources, body: ChatIn, completion_id: str, stop: threading.Event
) -> Iterator[str | Finish]:
    messages, decoding = [message.message() for message in body.messages], body.decoding()

    def pieces() -> Pieces:
        with resources.admission.slot(stop):
            yield from served.generator.stream(messages, decoding, stop)

    with resources.releases.lease() as served:
        spans = Spans(resources.tracer, completion_id)
        yield from watched(pieces(), served.generator.id, decoding, stop, spans, resources.metrics)


def _encoded(vector: np.ndarray, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


def _models(resources: ApiResources) -> list[dict[str, Any]]:
    """OpenAI's members, then ours: what the model is for, its exact weights, and the release that brought them."""
    live, encoder = resources.live, resources.encoder
    generator = live.generator
    adapted = {"adapter": generator.adapter, "release": live.id if generator.adapter else None}
    return [
        _model(model_name(generator.id), "generator", generator.id) | adapted,
        _model(model_name(encoder.id), "encoder", encoder.id),
        *(
            _model(one.name, "classifier", one.classifier.id)
            | {"release": one.parts.release, "labels": one.classifier.labels}
            for one in live.classifiers.all()
        ),
    ]


def _model(name: str, role: str, weights: str) -> dict[str, Any]:
    openai = {"id": name, "object": "model", "created": 0, "owned_by": "capstone"}
    return openai | {"role": role, "weights": weights, "release": None}


def _require(asked: str, model_id: str) -> None:
    if asked not in (model_id, model_name(model_id)):
        raise NotFound(f"The model here is {model_name(model_id)!r}, not {asked!r}.")
