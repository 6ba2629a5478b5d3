"""The ingest service: takes PDFs, shows their pages and the progress of their jobs. The work itself is `worker.py`."""

from __future__ import annotations

from contextlib import nullcontext

from fastapi import FastAPI

from services.core.http import Room, own_settings, service_app
from services.core.settings import MIB, Settings
from services.ingest.resources import IngestResources, open_resources
from services.ingest.routes import documents, jobs, pages, reindex

_MULTIPART_OVERHEAD_BYTES = MIB


def room(settings: Settings, resources: IngestResources | None = None) -> Room:
    return Room(
        name="ingest",
        routers=[documents.router, pages.router, jobs.router, reindex.router],
        open=lambda telemetry: nullcontext(resources) if resources else open_resources(settings, telemetry),
    )


def max_body_bytes(settings: Settings) -> int:
    return settings.max_upload_bytes + _MULTIPART_OVERHEAD_BYTES


def create_app(settings: Settings | None = None, resources: IngestResources | None = None) -> FastAPI:
    settings = settings or own_settings()
    return service_app(
        "Capstone ingest", [room(settings, resources)], settings, max_body_bytes=max_body_bytes(settings)
    )
