"""The eval service: judges text against references, and releases on datasets. The asking itself is `worker.py`."""

from __future__ import annotations

from contextlib import nullcontext

from fastapi import FastAPI

from services.core.http import Room, service_app
from services.core.settings import Settings, load_settings
from services.eval.resources import EvalResources, open_resources
from services.eval.routes import evaluations, releases, rouge

MAX_BODY_BYTES = max(rouge.BODY_MAX_BYTES, evaluations.BODY_MAX_BYTES)


def room(settings: Settings, resources: EvalResources | None = None) -> Room:
    return Room(
        name="eval",
        routers=[rouge.router, evaluations.router, releases.router],
        open=lambda telemetry: nullcontext(resources) if resources else open_resources(settings, telemetry),
    )


def create_app(settings: Settings | None = None, resources: EvalResources | None = None) -> FastAPI:
    app_room = room(settings or load_settings(), resources)
    return service_app("Capstone eval", [app_room], max_body_bytes=MAX_BODY_BYTES)
