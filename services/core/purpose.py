"""Why a question is asked: an evaluation says so, and is not counted among the questions of users."""

from __future__ import annotations

from starlette.requests import Request

HEADER = "X-Capstone-Purpose"
EVALUATION = "evaluation"


def for_evaluation(request: Request) -> bool:
    return request.headers.get(HEADER) == EVALUATION
