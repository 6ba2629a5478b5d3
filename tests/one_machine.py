"""All services on a port of this process, for tests that do the workers' jobs themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from services.cli.up import listen, one_machine_app, url_of
from services.core.catalog import Catalog
from services.core.settings import Settings
from services.ingest.worker import Worker
from tests.calls import client_of, upload
from tests.waiting import until


@contextmanager
def one_machine(
    settings: Settings, pdf: bytes, name: str, key: str | None = None
) -> Iterator[tuple[Settings, Catalog, httpx.Client]]:
    """The services with `pdf` ingested under `name`, the settings of a worker beside them, and a client with `key`."""
    listener = listen(settings)
    settings = settings.model_copy(update={"api_url": url_of(listener)})
    server = uvicorn.Server(uvicorn.Config(one_machine_app(settings), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    catalog = Catalog(settings.catalog_url)
    try:
        until(lambda: server.started)
        with client_of(url_of(listener), key) as http:
            upload(http, pdf, name).raise_for_status()
            worker = Worker(settings, catalog, threading.Event())
            worker._owner = "worker"
            job = catalog.jobs.claim("worker", 60)
            assert job is not None
            worker.work_on(job)
            yield settings, catalog, http
    finally:
        server.should_exit = True
        thread.join(30)
        catalog.close()
