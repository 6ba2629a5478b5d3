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

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from services.core.catalog import Catalog
from services.core.guard import Guard
from services.core.keys import Caller
from services.core.middleware import RequestScope
from services.core.problems import install_handlers
from services.core.process import give_large_blocks_back
from services.core.settings import Settings, load_settings
from services.core.telemetry import Telemetry, configure_logging, silence_libraries
from services.core.tracing import open_provider
from services.core.version import version

JSON_BODY_MAX_BYTES = 1024 * 1024
_STREAM_THREADS = 64
_PROBES = ("/livez", "/readyz", "/metrics")


class Resources(Protocol):
    """What a room opens at start and closes at the end."""

    @property
    def catalog(self) -> Catalog: ...

    def check(self) -> None:
        """Raise Unavailable when the room cannot do its work now."""


@dataclass(frozen=True)
class Room:
    """One service: its routes, and how to open what they need (found by them in `app.state.<name>`)."""

    name: str
    routers: Sequence[APIRouter]
    open: Callable[[Telemetry], AbstractContextManager[Resources]]


def own_settings() -> Settings:
    """Of a process that uvicorn starts by the factory of one service: from its environment. Its logs become JSON."""
    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def service_app(
    title: str, rooms: Sequence[Room], settings: Settings, *, max_body_bytes: int = JSON_BODY_MAX_BYTES
) -> FastAPI:
    """An application serving `rooms`, with /livez, /readyz, /metrics and /docs."""
    silence_libraries()
    give_large_blocks_back()
    service = rooms[0].name if len(rooms) == 1 else "capstone"
    provider = open_provider(settings.traces, service, version()) if settings.traces else None
    telemetry = Telemetry(service, provider.get_tracer("capstone")) if provider else Telemetry(service)

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
                if provider is not None:
                    await run_in_threadpool(provider.shutdown)

    app = FastAPIOffline(
        title=title,
        version="1",
        lifespan=lifespan,
        max_body_size=max_body_bytes,
        redoc_url=None,
        # The framework's own spans. Its metrics and logs are not wanted, nor what variables of the environment ask for.
        telemetry={
            "tracer_provider": provider,
            "tracing": provider is not None,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope.get("path") in _PROBES,
        },
    )
    install_handlers(app)
    for room in rooms:
        for router in room.routers:
            app.include_router(router, tags=[room.name])
    app.include_router(_probes([room.name for room in rooms], telemetry), tags=["probes"])
    # Around everything, the framework's own limit on bodies included, which `add_middleware` would stay inside of.
    guarded = Guard(app.build_middleware_stack(), settings, lambda: _catalog(app, rooms).database)
    app.middleware_stack = RequestScope(guarded, telemetry, log_text=settings.log_text)
    return app


def somebody(request: Request) -> str:
    """Who asks, where they do not say."""
    key = _caller(request).key
    return f"key {key}" if key else _address(request)


def signed(request: Request, claimed: str | None) -> str:
    """Who asks, for what is kept for ever: what they say of themselves, and beside it the key, which proves something.
    At most 120 characters."""
    key = _caller(request).key
    who = claimed or _address(request)
    return f"{who[:90]} (key {key})" if key else who


def _caller(request: Request) -> Caller:
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


def _address(request: Request) -> str:
    return f"somebody at {request.client.host}" if request.client else "somebody"


def _catalog(app: FastAPI, rooms: Sequence[Room]) -> Catalog:
    """All rooms of a process have the same one."""
    resources: Resources = getattr(app.state, rooms[0].name)
    return resources.catalog


def _probes(names: Sequence[str], telemetry: Telemetry) -> APIRouter:
    router = APIRouter()
    # Threads of its own: what hangs must not take them all.
    scrapes = CapacityLimiter(2)

    @router.get("/livez", summary="Is the process alive?")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="Can every part of it do its work?")
    def readyz(request: Request) -> dict[str, str]:
        for name in names:
            getattr(request.app.state, name).check()
        return {"status": "ready"}

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        text = await to_thread.run_sync(generate_latest, telemetry.registry, limiter=scrapes)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
