"""A way to a PostgreSQL server that can be stalled: connections stay, and nothing goes through any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa


class Way:
    """`port` is on 127.0.0.1."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.port = 0
        self._loop = loop
        self._open = asyncio.Event()
        self._open.set()

    def stall(self) -> None:
        self._loop.call_soon_threadsafe(self._open.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    async def serve(self, url: sa.URL) -> asyncio.Server:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if folder := url.query.get("host"):
                there, back = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
            else:
                there, back = await asyncio.open_connection(url.host, url.port or 5432)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

        server = await asyncio.start_server(meet, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        return server

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
            writer.close()


@contextmanager
def way_to(url: sa.URL) -> Iterator[Way]:
    """To the server of `url`, on a Unix socket or a port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    way = Way(loop)
    server = asyncio.run_coroutine_threadsafe(way.serve(url), loop).result(10)
    try:
        yield way
    finally:
        way.resume()
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
