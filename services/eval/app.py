"""The eval service: judges text against references, and releases on datasets. The asking itself is `worker.py`."""

from __future__ import annotations

from contextlib import nullcontext

from fastapi import FastAPI

from services.core.http import Room, own_settings, service_app
from services.core.settings import Settings
from services.eval.resources import EvalResources, open_resources
from services.eval.routes import alerts, drift, evaluations, releases, retraining, rouge

MAX_BODY_BYTES = max(rouge.BODY_MAX_BYTES, evaluations.BODY_MAX_BYTES)


def room(settings: Settings, resources: EvalResources | None = None) -> Room:
    return Room(
        name="eval",
        routers=[
            rouge.router,
            evaluations.router,
            releases.router,
            drift.router,
            alerts.router,
            retraining.router,
        ],
        open=lambda telemetry: nullcontext(resources) if resources else open_resources(settings, telemetry),
    )


def create_app(settings: Settings | None = None, resources: EvalResources | None = None) -> FastAPI:
    settings = settings or own_settings()
    return service_app("Capstone eval", [room(settings, resources)], settings, max_body_bytes=MAX_BODY_BYTES)
