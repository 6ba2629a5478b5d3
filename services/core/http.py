"""What every service's HTTP surface shares: the app, its probes, problem+json, request ids, SSE, hang-ups.

A service is described as a `Room`; `service_app` turns one room, or all of them, into one FastAPI application.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.errors import CapstoneError, ClientClosedRequest, TooLarge, Unavailable
from services.core.telemetry import Telemetry, silence_libraries

JSON_BODY_MAX_BYTES = 1024 * 1024
HEARTBEAT_S = 15.0
_HANG_UP_POLL_S = 0.1
_REQUEST_ID_MAX_CHARS = 64
_STREAM_THREADS = 64
_log = logging.getLogger("capstone.http")

T = TypeVar("T")


class Resources(Protocol):
    """What a room opens at start and closes at the end."""

    def check(self) -> None:
        """Raise Unavailable when the room cannot do its work now."""


@dataclass(frozen=True)
class Room:
    """One service: its routes, and how to open what they need (found by them in `app.state.<name>`)."""

    name: str
    routers: Sequence[APIRouter]
    open: Callable[[Telemetry], AbstractContextManager[Resources]]


def service_app(title: str, rooms: Sequence[Room], *, max_body_bytes: int = JSON_BODY_MAX_BYTES) -> FastAPI:
    """An application serving `rooms`, with /livez, /readyz, /metrics and /docs."""
    silence_libraries()
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            # Streams hold a thread each while they run; asyncio's default pool has six on two cores.
            pool = stack.enter_context(ThreadPoolExecutor(_STREAM_THREADS, thread_name_prefix="stream"))
            asyncio.get_running_loop().set_default_executor(pool)
            for room in rooms:
                resources = await run_in_threadpool(stack.enter_context, room.open(telemetry))
                setattr(app.state, room.name, resources)
            yield

    app = FastAPIOffline(title=title, version="1", lifespan=lifespan, max_body_size=max_body_bytes, redoc_url=None)
    app.add_exception_handler(CapstoneError, _on_capstone_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    for room in rooms:
        for router in room.routers:
            app.include_router(router, tags=[room.name])
    app.include_router(_probes([room.name for room in rooms], telemetry), tags=["probes"])
    # Around everything, the framework's own limit on bodies included, which `add_middleware` would stay inside of.
    app.middleware_stack = RequestScope(app.build_middleware_stack(), telemetry)
    return app


def _probes(names: Sequence[str], telemetry: Telemetry) -> APIRouter:
    router = APIRouter()

    @router.get("/livez", summary="Is the process alive?")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Can every part of it do its work?")
    def readyz(request: Request) -> dict[str, str]:
        for name in names:
            getattr(request.app.state, name).check()
        return {"status": "ready"}

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    def metrics() -> Response:
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return router


class RequestScope:
    """Pure ASGI middleware: gives each request an id, counts and times it. Never touches the request's body."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status, replaced = time.perf_counter(), 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, replaced
            if replaced and message["type"] == "http.response.body":
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                if _is_plain_413(status, headers):
                    # Starlette's limit on bodies overrules our handlers with a plain text of its own.
                    await _too_large(Request(scope))(scope, receive, send_with_id)
                    replaced = True
                    return
                headers.append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route = _route_template(scope)
            known = route is not None and status != 405  # the method is one that the route takes, not any word
            labels = (scope["method"] if known else "other", route or "unmatched", str(status))
            seconds = time.perf_counter() - started
            self._telemetry.http_requests.labels(*labels).inc()
            self._telemetry.http_seconds.labels(*labels).observe(seconds)
            fields = {"request_id": request_id, "method": labels[0], "route": labels[1], "status": status}
            _log.info("request", extra={"fields": {**fields, "ms": round(1000 * seconds, 1)}})


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            sane = text.isascii() and all(c.isalnum() or c in "-_." for c in text)
            if sane and 0 < len(text) <= _REQUEST_ID_MAX_CHARS:
                return str(text)
    return uuid4().hex


def _route_template(scope: Scope) -> str | None:
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path is not None else None


# Errors ---------------------------------------------------------------------------------------------------------


def problem(request: Request, status: int, code: str, title: str, detail: str, **members: Any) -> JSONResponse:
    """An RFC 9457 answer. `code` is stable; `detail` is for people and may change."""
    body = {"type": f"urn:capstone:error:{code}", "title": title, "status": status, "code": code, "detail": detail}
    body |= {"request_id": getattr(request.state, "request_id", None), **members}
    return JSONResponse(body, status, media_type="application/problem+json")


def _is_plain_413(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return status == 413 and dict(headers).get(b"content-type") != b"application/problem+json"


def _too_large(request: Request) -> JSONResponse:
    return problem(request, TooLarge.status, TooLarge.code, TooLarge.title, "The body of the request is too large.")


def problem_body(error: CapstoneError) -> dict[str, Any]:
    """The same as `problem`, for an `error` event inside a stream."""
    return {"title": error.title, "status": error.status, "code": error.code, "detail": error.detail}


async def _on_capstone_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CapstoneError)
    response = problem(request, error.status, error.code, error.title, error.detail)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(part) for part in item["loc"][1:]) or item["loc"][0], "message": item["msg"]}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    return problem(request, 422, "invalid_request", "The request is not valid", detail, errors=errors)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 400: "bad_request"}
    code = known.get(error.status_code, f"http_{error.status_code}")
    response = problem(request, error.status_code, code, HTTPStatus(error.status_code).phrase, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _on_bug(request: Request, error: Exception) -> Response:
    _log.exception("unhandled error", exc_info=error, extra={"fields": {"request_id": request.state.request_id}})
    detail = "Something went wrong on our side. The request id leads to the log entry."
    return problem(request, 500, CapstoneError.code, CapstoneError.title, detail)


# Streams and hang-ups -------------------------------------------------------------------------------------------


def wants_sse(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `name` None sends only data."""

    name: str | None
    data: Any

    def encode(self) -> bytes:
        value = self.data.model_dump(mode="json") if isinstance(self.data, BaseModel) else self.data
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return format_sse_event(data_str=text, event=self.name)


async def run_until_hang_up(request: Request, work: Callable[[threading.Event], T]) -> T:
    """Run blocking `work(stop)` in a thread; sets `stop` and raises ClientClosedRequest when the client hangs up."""
    stop = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        while not (await asyncio.wait({task}, timeout=_HANG_UP_POLL_S))[0]:
            if await request.is_disconnected():
                raise ClientClosedRequest("The client closed the connection before the answer was ready.")
        return task.result()
    finally:
        stop.set()
        with contextlib.suppress(Exception):  # its outcome has been taken above, or nobody is left to hear of it
            await asyncio.shield(task)


def event_stream(work: Callable[[threading.Event], Iterator[Event]]) -> StreamingResponse:
    """Answer with the events that blocking `work(stop)` yields in a thread.

    `stop` is set when the client hangs up. A CapstoneError becomes a last event `error`. Silence is filled with
    comments so that proxies keep the connection open.
    """
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(work), media_type="text/event-stream", headers=headers)


async def _events(work: Callable[[threading.Event], Iterator[Event]]) -> AsyncIterator[bytes]:
    loop, stop = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(item: bytes | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: the process is shutting down
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def produce() -> None:
        try:
            for event in work(stop):
                put(event.encode())
                if stop.is_set():
                    return
        except CapstoneError as error:
            put(Event("error", problem_body(error)).encode())
        except Exception:  # noqa: BLE001 - the boundary of the thread: the stream must end, and the log must tell
            _log.exception("unhandled error in a stream")
            put(Event("error", problem_body(CapstoneError("Something went wrong on our side."))).encode())
        finally:
            put(None)

    task = asyncio.create_task(asyncio.to_thread(produce))
    try:
        while True:
            try:
                item = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            if item is None:
                break
            yield item
    finally:
        stop.set()
        await asyncio.shield(task)


def check_database(ping: Callable[[], object]) -> None:
    """Raise Unavailable when `ping`, a cheap query, fails."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        ping()
    except SQLAlchemyError as error:
        raise Unavailable("The catalog database does not answer.", retry_after_s=5) from error
