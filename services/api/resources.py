"""What the api service holds open while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from fastapi import Request
from prometheus_client import Gauge, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.api.admission import Admission
from services.api.follow import Follower, first
from services.api.releases import Releases
from services.api.served import Loader, Served, Shared
from services.api.shadow import Shadow, ShadowLog
from services.api.sources import Sources
from services.core.aliases import open_aliases
from services.core.catalog import Catalog
from services.core.encoder import Encoder, open_encoder
from services.core.lineage import ClassificationLog
from services.core.registry import Release, resolve_release
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.core.vector_store import open_store
from services.core.view import IndexView, LexicalView, View

_MAX_WAITING_FOR_RELEASE = 8
_log = logging.getLogger("capstone.api")


@dataclass(frozen=True)
class ApiResources:
    """What depends on a release is found in `releases`: a request leases one, and uses its parts alone."""

    catalog: Catalog
    encoder: Encoder
    admission: Admission  # to the generators
    classifying: Admission
    releases: Releases
    shadow: Shadow

    @property
    def live(self) -> Served:
        """The champion of this moment: to look at, not to answer with."""
        return self.releases.champion

    def check(self) -> None:
        self.catalog.database.check()


def resources_of(request: Request) -> ApiResources:
    resources = request.app.state.api
    assert isinstance(resources, ApiResources)
    return resources


@contextmanager
def open_resources(settings: Settings, telemetry: Telemetry) -> Iterator[ApiResources]:
    """Open the catalog and the views, load the champion, and keep all of them fresh.

    Raises ModelProblem if the shipped release or a base is missing, changed or of another origin.
    """
    with ExitStack() as stack:
        catalog = stack.enter_context(closing(Catalog(settings.catalog_url)))
        catalog.migrate()
        folder = settings.wanted_release
        shipped = resolve_release(folder, settings.models_dir) if folder else None  # refuses before anything is loaded
        encoder = open_encoder(settings.encoder, settings.models_dir, settings.torch_threads)
        dense, lexical = stack.enter_context(_views(settings, catalog, encoder))
        shared = _shared(settings, catalog, encoder, dense, lexical)
        releases = stack.enter_context(_releases(settings, shared, shipped))
        shadow = Shadow(releases, shared.admission, ShadowLog(catalog.database, settings.shadow_log_rows), settings)
        resources = ApiResources(catalog, encoder, shared.admission, shared.classifying, releases, shadow)
        _add_metrics(telemetry, [view for view in (dense, lexical) if view is not None], resources)
        stack.enter_context(shadow)
        yield resources


def _shared(
    settings: Settings, catalog: Catalog, encoder: Encoder, dense: IndexView | None, lexical: LexicalView | None
) -> Shared:
    timeout_s = settings.queue_timeout_s
    return Shared(
        catalog=catalog,
        encoder=encoder,
        dense=dense,
        lexical=lexical,
        admission=Admission("generator", settings.max_waiting_generations, timeout_s, usual_s=4.0),
        classifying=Admission("classifier", settings.max_waiting_classifications, timeout_s, usual_s=1.0),
        log=ClassificationLog(catalog.database, settings.classification_log_rows, settings.classification_log_chars),
    )


@contextmanager
def _releases(settings: Settings, shared: Shared, shipped: Release | None) -> Iterator[Releases]:
    with closing(open_aliases(settings)) as aliases:
        sources = Sources(aliases, shipped, settings.releases_dir, settings.models_dir)
        loader = Loader(settings, shared)
        champion, refused = first(sources, loader)
        loading = Admission("release", _MAX_WAITING_FOR_RELEASE, settings.queue_timeout_s, usual_s=5.0)
        releases = Releases(champion, sources, loader, loading)
        with closing(Follower(releases, sources, settings.release_poll_s, refused)) as follower:
            follower.start()
            yield releases


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
        "classification_waiting": ("Requests waiting for a classifier.", resources.classifying.waiting),
        "shadow_waiting": ("Answers that the challenger has still to give as well.", resources.shadow.waiting),
    }
    for name, (text, read) in gauges.items():
        Gauge(name, text, registry=telemetry.registry).set_function(read)
    telemetry.registry.register(ReleaseMetrics(resources.releases, resources.shadow))


class ReleaseMetrics(Collector):
    """Which releases are in memory, and what became of others."""

    def __init__(self, releases: Releases, shadow: Shadow) -> None:
        self._releases = releases
        self._shadow = shadow

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("release_info", "Releases in memory.", labels=["release", "role"])
        for role, release in self._releases.in_memory():
            info.add_metric([release or "none", role], 1)
        yield info
        yield CounterMetricFamily("release_swaps", "Champions that took the place of another.", self._releases.swaps)
        yield CounterMetricFamily("release_refusals", "Releases that were not usable.", self._releases.refusals)
        shadow = CounterMetricFamily("shadow_answers", "What became of the challenger's.", labels=["outcome"])
        for outcome, count in self._shadow.outcomes().items():
            shadow.add_metric([outcome], count)
        yield shadow
