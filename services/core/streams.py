"""Between blocking work in threads and clients on the event loop: server-sent events, and clients that hang up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel

from services.core.errors import CapstoneError, ClientClosedRequest
from services.core.problems import problem_body

HEARTBEAT_S = 15.0
_HANG_UP_POLL_S = 0.1
_log = logging.getLogger("capstone.http")

T = TypeVar("T")


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
