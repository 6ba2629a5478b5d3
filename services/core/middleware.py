"""What happens to every request, whatever its route: an id, a count, a time, a line in the log."""

from __future__ import annotations

import logging
import time
from uuid import uuid4

from fastapi import Request
from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.core.notes import Notes, noting
from services.core.problems import is_plain_413, too_large
from services.core.telemetry import Telemetry

_REQUEST_ID_MAX_CHARS = 64
_log = logging.getLogger("capstone.http")


class RequestScope:
    """Pure ASGI middleware: gives each request an id, counts and times it. Never touches the request's body.

    With `log_text` the line of an answer has its question too.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, *, log_text: bool = False) -> None:
        self._app = app
        self._telemetry = telemetry
        self._log_text = log_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        notes = Notes(self._log_text)
        started, status, replaced = time.perf_counter(), 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, replaced
            if replaced and message["type"] == "http.response.body":
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                if is_plain_413(status, headers):
                    # Starlette's limit on bodies overrules our handlers with a plain text of its own.
                    await too_large(Request(scope))(scope, receive, send_with_id)
                    replaced = True
                    return
                headers.append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            with self._telemetry.in_progress.track_inprogress(), noting(notes):
                await self._app(scope, receive, send_with_id)
        finally:
            route = _route_template(scope)
            known = route is not None and status != 405  # the method is one that the route takes, not any word
            labels = (scope["method"] if known else "other", route or "unmatched", str(status))
            seconds = time.perf_counter() - started
            self._telemetry.http_requests.labels(*labels).inc()
            self._telemetry.http_seconds.labels(*labels).observe(seconds)
            if "code" in notes.fields:
                self._telemetry.problems.labels(notes.fields["code"]).inc()
            if "refused" in notes.fields:
                self._telemetry.refused.labels(notes.fields["refused"]).inc()
            fields = {"request_id": request_id, "method": labels[0], "route": labels[1], "status": status}
            fields |= {"ms": round(1000 * seconds, 1), **_trace_id(), **notes.fields}
            _log.info("request", extra={"fields": fields})


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            sane = text.isascii() and all(c.isalnum() or c in "-_." for c in text)
            if sane and 0 < len(text) <= _REQUEST_ID_MAX_CHARS:
                return str(text)
    return uuid4().hex


def _trace_id() -> dict[str, str]:
    context = get_current_span().get_span_context()
    return {"trace_id": f"{context.trace_id:032x}"} if context.is_valid else {}


def _route_template(scope: Scope) -> str | None:
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path is not None else None
