"""What the api service holds open while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request
from prometheus_client import Gauge

from services.api.admission import Admission
from services.api.answer import Answerer
from services.api.cite import Citer
from services.api.generate import Generator, open_generator
from services.api.retrieve import Retriever
from services.core.catalog import Catalog
from services.core.encoder import Encoder, open_encoder
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.core.vector_store import open_store
from services.core.version import git_commit
from services.core.view import IndexView

_log = logging.getLogger("capstone.api")


@dataclass(frozen=True)
class ApiResources:
    catalog: Catalog
    encoder: Encoder
    generator: Generator
    admission: Admission
    retriever: Retriever
    answerer: Answerer

    def check(self) -> None:
        self.catalog.database.check()


def resources_of(request: Request) -> ApiResources:
    resources = request.app.state.api
    assert isinstance(resources, ApiResources)
    return resources


@contextmanager
def open_resources(settings: Settings, telemetry: Telemetry) -> Iterator[ApiResources]:
    """Open the catalog, load both models, bring the view up to date, and keep its snapshot fresh."""
    catalog = Catalog(settings.catalog_url)
    try:
        catalog.migrate()
        encoder = open_encoder(settings.encoder, settings.models_dir, settings.torch_threads)
        generator = open_generator(
            settings.generator, settings.models_dir, settings.adapter_dir, settings.torch_threads
        )
        with _view(settings, catalog, encoder) as view:
            resources = _wire(settings, catalog, encoder, generator, view)
            _add_metrics(telemetry, view, resources.admission)
            yield resources
    finally:
        catalog.close()


def _wire(
    settings: Settings, catalog: Catalog, encoder: Encoder, generator: Generator, view: IndexView
) -> ApiResources:
    retriever = Retriever(encoder, view)
    admission = Admission(settings.max_waiting_generations, settings.queue_timeout_s)
    answerer = Answerer(
        catalog,
        retriever,
        Citer(catalog, encoder),
        generator,
        admission,
        encoder_id=encoder.id,
        git_commit=git_commit(),
    )
    return ApiResources(catalog, encoder, generator, admission, retriever, answerer)


@contextmanager
def _view(settings: Settings, catalog: Catalog, encoder: Encoder) -> Iterator[IndexView]:
    store = open_store(
        settings.vector_store,
        folder=settings.snapshots_dir,
        chroma_url=settings.chroma_url,
        encoder_id=encoder.id,
        dim=encoder.dim,
    )
    view = IndexView(catalog, store, encoder.id, encoder.dim)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(view, settings.snapshot_every_s, ended), name="view-keeper")
    try:
        view.catch_up()
        keeper.start()
        yield view
    finally:
        ended.set()
        if keeper.ident is not None:
            keeper.join()
        view.close()


def _keep(view: IndexView, every_s: float, ended: threading.Event) -> None:
    """Follow the catalog between searches too, so that none of them has much to catch up with."""
    while not ended.wait(every_s):
        try:
            view.catch_up()
            view.save_if_changed()
        except Exception:  # noqa: BLE001 - the thread must outlive a database or disk that is away for a while
            _log.exception("view not kept")


def _add_metrics(telemetry: Telemetry, view: IndexView, admission: Admission) -> None:
    gauges = {
        "index_rows": ("Chunks in this process's view.", view.count),
        "index_lag": ("Committed changes this view has not applied.", view.lag),
        "generation_waiting": ("Requests waiting for the generator.", admission.waiting),
    }
    for name, (text, read) in gauges.items():
        Gauge(name, text, registry=telemetry.registry).set_function(read)
