"""The api service: finds passages, answers questions with citations, classifies, and speaks the OpenAI dialect."""

from __future__ import annotations

from contextlib import nullcontext

from fastapi import FastAPI

from services.api.resources import ApiResources, open_resources
from services.api.routes import answers, classify, feedback, lineage, openai, search, web
from services.core.http import Room, own_settings, service_app
from services.core.settings import Settings


def room(settings: Settings, resources: ApiResources | None = None) -> Room:
    return Room(
        name="api",
        routers=[
            search.router,
            answers.router,
            feedback.router,
            classify.router,
            lineage.router,
            openai.router,
            web.router,
        ],
        open=lambda telemetry: nullcontext(resources) if resources else open_resources(settings, telemetry),
    )


def create_app(settings: Settings | None = None, resources: ApiResources | None = None) -> FastAPI:
    settings = settings or own_settings()
    return service_app("Capstone api", [room(settings, resources)], settings)
