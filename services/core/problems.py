"""Errors as RFC 9457 problem+json. Every error a client gets is made here."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from services.core.errors import CapstoneError, TooLarge, Unauthorized, Unavailable
from services.core.notes import note

_log = logging.getLogger("capstone.http")


def install_handlers(app: FastAPI) -> None:
    """Have every failure of `app` answered by the functions below."""
    app.add_exception_handler(CapstoneError, _on_capstone_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(OperationalError, _on_catalog_away)
    app.add_exception_handler(Exception, _on_bug)


def problem(request: Request, status: int, code: str, title: str, detail: str, **members: Any) -> Response:
    """An RFC 9457 answer. `code` is stable; `detail` is for people and may change."""
    note(code=code)
    body = {"type": f"urn:capstone:error:{code}", "title": title, "status": status, "code": code, "detail": detail}
    body["message"] = detail  # the member that OpenAI's clients show
    body |= {"request_id": getattr(request.state, "request_id", None), **members}
    # ASCII: a message may repeat half of a surrogate pair from the request, which has no UTF-8.
    return Response(json.dumps(body), status, media_type="application/problem+json")


def is_plain_413(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return status == 413 and dict(headers).get(b"content-type") != b"application/problem+json"


def too_large(request: Request) -> Response:
    return problem(request, TooLarge.status, TooLarge.code, TooLarge.title, "The body of the request is too large.")


def problem_of(request: Request, error: CapstoneError) -> Response:
    """The answer that tells of `error`."""
    response = problem(request, error.status, error.code, error.title, error.detail, **error.members)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if error.status == Unauthorized.status:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def problem_body(error: CapstoneError) -> dict[str, Any]:
    """The same as `problem`, for an `error` event inside a stream."""
    note(code=error.code)
    return {"title": error.title, "status": error.status, "code": error.code, "detail": error.detail}


async def _on_capstone_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CapstoneError)
    return problem_of(request, error)


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


async def _on_catalog_away(request: Request, error: Exception) -> Response:
    """The database does not answer, or somebody holds its lock for too long: worth another try."""
    _log.error("the catalog does not answer", exc_info=error)
    return await _on_capstone_error(request, Unavailable("The catalog database does not answer.", retry_after_s=5))


async def _on_bug(request: Request, error: Exception) -> Response:
    _log.exception("unhandled error", exc_info=error, extra={"fields": {"request_id": request.state.request_id}})
    detail = "Something went wrong on our side. The request id leads to the log entry."
    return problem(request, 500, CapstoneError.code, CapstoneError.title, detail)
