"""What the api service holds open while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request
from prometheus_client import Gauge

from services.api.admission import Admission
from services.api.answer import Answerer
from services.api.cite import Citer
from services.api.classify import SUFFICIENCY, Classifiers, open_classifiers
from services.api.generate import Generator, open_generator
from services.api.retrieve import Plan, Retriever
from services.core.catalog import Catalog
from services.core.encoder import Encoder, open_encoder
from services.core.registry import Release, resolve_release
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.core.vector_store import open_store
from services.core.version import git_commit
from services.core.view import IndexView, LexicalView, View

_log = logging.getLogger("capstone.api")


@dataclass(frozen=True)
class ApiResources:
    catalog: Catalog
    encoder: Encoder
    generator: Generator
    classifiers: Classifiers
    release: Release | None
    admission: Admission  # to the generator
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
    """Open the catalog, load the models, bring the view up to date, and keep its snapshot fresh."""
    catalog = Catalog(settings.catalog_url)
    try:
        catalog.migrate()
        models = _open_models(settings)
        with _views(settings, catalog, models.encoder) as (dense, lexical):
            resources = _wire(settings, catalog, models, dense, lexical)
            _add_metrics(telemetry, [view for view in (dense, lexical) if view is not None], resources)
            yield resources
    finally:
        catalog.close()


@dataclass(frozen=True)
class _Models:
    release: Release | None
    encoder: Encoder
    generator: Generator
    classifiers: Classifiers


def _open_models(settings: Settings) -> _Models:
    """Raises ModelProblem if the release or a base is missing, changed or of another origin."""
    folder, models_dir, threads = settings.wanted_release, settings.models_dir, settings.torch_threads
    release = resolve_release(folder, models_dir) if folder else None  # first: it refuses before anything is loaded
    encoder = open_encoder(settings.encoder, models_dir, threads)
    generator = open_generator(settings.generator, models_dir, release.adapter if release else None, threads)
    taken = [model_name(encoder.id), model_name(generator.id)]
    served = open_classifiers(settings.classifier, release, models_dir, settings.named_classifiers, taken, threads)
    admission = Admission("classifier", settings.max_waiting_classifications, settings.queue_timeout_s, usual_s=1.0)
    return _Models(release, encoder, generator, Classifiers(served, admission))


def model_name(model_id: str) -> str:
    """The part of an id that people use: `SmolLM2-135M-Instruct` of `SmolLM2-135M-Instruct@0123abcd`."""
    return model_id.partition("@")[0]


def _wire(
    settings: Settings, catalog: Catalog, models: _Models, dense: IndexView | None, lexical: LexicalView | None
) -> ApiResources:
    retriever = Retriever(catalog, models.encoder, Plan.of(settings), dense, lexical)
    admission = Admission("generator", settings.max_waiting_generations, settings.queue_timeout_s, usual_s=4.0)
    sufficiency = models.classifiers.find(SUFFICIENCY)
    answerer = Answerer(
        catalog,
        retriever,
        Citer(catalog, models.encoder),
        models.generator,
        admission,
        encoder=models.encoder,
        classifier_id=sufficiency.classifier.id if sufficiency else None,
        release=models.release,
        git_commit=git_commit(),
    )
    return ApiResources(
        catalog=catalog,
        encoder=models.encoder,
        generator=models.generator,
        classifiers=models.classifiers,
        release=models.release,
        admission=admission,
        retriever=retriever,
        answerer=answerer,
    )


@contextmanager
def _views(
    settings: Settings, catalog: Catalog, encoder: Encoder
) -> Iterator[tuple[IndexView | None, LexicalView | None]]:
    """The views that the setting `retrieval` needs, up to date; a library that none of them needs is not imported."""
    dense = _dense_view(settings, catalog, encoder) if settings.retrieval != "lexical" else None
    lexical = _lexical_view(catalog, encoder) if settings.retrieval != "dense" else None
    views: list[View] = [view for view in (dense, lexical) if view is not None]
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(views, settings.snapshot_every_s, ended), name="view-keeper")
    try:
        for view in views:
            view.catch_up()
        keeper.start()
        yield dense, lexical
    finally:
        ended.set()
        if keeper.ident is not None:
            keeper.join()
        for view in views:
            view.close()


def _dense_view(settings: Settings, catalog: Catalog, encoder: Encoder) -> IndexView:
    store = open_store(
        settings.vector_store,
        folder=settings.snapshots_dir,
        chroma_url=settings.chroma_url,
        encoder_id=encoder.id,
        dim=encoder.dim,
    )
    return IndexView(catalog, store, encoder.id, encoder.dim)


def _lexical_view(catalog: Catalog, encoder: Encoder) -> LexicalView:
    from services.core.lexical.tantivy_index import TantivyIndex

    return LexicalView(catalog, TantivyIndex(), encoder.id)


def _keep(views: Sequence[View], every_s: float, ended: threading.Event) -> None:
    """Follow the catalog between searches too, so that none of them has much to catch up with."""
    while not ended.wait(every_s):
        for view in views:
            try:
                view.catch_up()
                view.save_if_changed()
            except Exception:  # noqa: BLE001 - the thread must outlive a database or disk that is away for a while
                _log.exception("view not kept")


def _add_metrics(telemetry: Telemetry, views: Sequence[View], resources: ApiResources) -> None:
    gauges = {
        "index_rows": ("Chunks in this process's view.", views[0].count),
        "index_lag": ("Committed changes a view has not applied.", lambda: max(view.lag() for view in views)),
        "generation_waiting": ("Requests waiting for the generator.", resources.admission.waiting),
        "classification_waiting": ("Requests waiting for a classifier.", resources.classifiers.admission.waiting),
    }
    for name, (text, read) in gauges.items():
        Gauge(name, text, registry=telemetry.registry).set_function(read)
