"""A service's HTTP surface: the app, its probes, and how its resources are opened and closed.

A service is described as a `Room`; `service_app` turns one room, or all of them, into one FastAPI application.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from services.core.middleware import RequestScope
from services.core.problems import install_handlers
from services.core.telemetry import Telemetry, silence_libraries

JSON_BODY_MAX_BYTES = 1024 * 1024
_STREAM_THREADS = 64


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
        # Streams hold a thread each while they run; asyncio's default pool has six on two cores.
        pool = ThreadPoolExecutor(_STREAM_THREADS, thread_name_prefix="stream")
        asyncio.get_running_loop().set_default_executor(pool)
        with ExitStack() as stack:
            try:
                for room in rooms:
                    resources = await run_in_threadpool(stack.enter_context, room.open(telemetry))
                    setattr(app.state, room.name, resources)
                yield
            finally:
                # In a thread: streams that are cut off end only if the loop goes on, and they still use the resources.
                await run_in_threadpool(pool.shutdown)

    app = FastAPIOffline(title=title, version="1", lifespan=lifespan, max_body_size=max_body_bytes, redoc_url=None)
    install_handlers(app)
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
