"""What the api service holds open while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from fastapi import Request
from opentelemetry.trace import Tracer

from services.api.admission import Admission
from services.api.at_scrape import ReleaseMetrics, tell_of_views
from services.api.feedback import FeedbackDesk
from services.api.follow import Follower, first
from services.api.metrics import ApiMetrics
from services.api.recorder import Recorder
from services.api.releases import Releases
from services.api.served import Loader, Served, Shared
from services.api.shadow import Shadow, ShadowLog
from services.api.sources import Sources
from services.api.watched import WatchedEncoder
from services.core.aliases import open_aliases
from services.core.captures import CaptureLog
from services.core.catalog import Catalog
from services.core.encoder import Encoder, open_encoder
from services.core.lineage import ClassificationLog
from services.core.registry import Release, resolve_release
from services.core.reindex import count_of_others
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
    reading: Admission  # of passages, by searches and answers
    classifying: Admission
    releases: Releases
    shadow: Shadow
    metrics: ApiMetrics
    tracer: Tracer
    recorder: Recorder
    feedback: FeedbackDesk

    @property
    def live(self) -> Served:
        """The champion of this moment: to look at, not to answer with."""
        return self.releases.champion

    def check(self) -> None:
        self.catalog.database.check()
        with self.releases.lease() as served:  # which is not closed meanwhile
            served.generator.check()


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
        metrics = ApiMetrics(telemetry)
        encoder = WatchedEncoder(
            open_encoder(settings.encoder, settings.models_dir, settings.torch_threads, settings.device),
            lambda texts: metrics.batch("encoder", texts),
        )
        dense, lexical = stack.enter_context(_views(settings, catalog, encoder))
        shared = _shared(settings, catalog, encoder, dense, lexical, metrics, telemetry.tracer)
        releases = stack.enter_context(_releases(settings, shared, shipped))
        shadow = Shadow(releases, shared.admission, ShadowLog(catalog.database, settings.shadow_log_rows), settings)
        metrics.waiting("shadow", shadow.waiting)
        tell_of_views(telemetry, {name: view for name, view in (("dense", dense), ("lexical", lexical)) if view})
        telemetry.registry.register(ReleaseMetrics(releases, shadow))
        recorder = Recorder(CaptureLog(catalog.database, settings.capture_rows), settings.capture_share)
        telemetry.registry.register(recorder)
        resources = ApiResources(
            catalog,
            encoder,
            shared.admission,
            shared.reading,
            shared.classifying,
            releases,
            shadow,
            metrics,
            telemetry.tracer,
            recorder,
            FeedbackDesk(catalog, telemetry),
        )
        stack.enter_context(shadow)
        stack.enter_context(recorder)
        yield resources


def _shared(
    settings: Settings,
    catalog: Catalog,
    encoder: Encoder,
    dense: IndexView | None,
    lexical: LexicalView | None,
    metrics: ApiMetrics,
    tracer: Tracer,
) -> Shared:
    timeout_s = settings.queue_timeout_s
    return Shared(
        catalog=catalog,
        encoder=encoder,
        dense=dense,
        lexical=lexical,
        admission=_queue(
            metrics, "generator", settings.max_waiting_generations, timeout_s, 4.0, at_once=settings.max_generations
        ),
        reading=_queue(metrics, "reader", settings.max_waiting_readings, timeout_s, usual_s=0.5),
        classifying=_queue(metrics, "classifier", settings.max_waiting_classifications, timeout_s, usual_s=1.0),
        log=ClassificationLog(catalog.database, settings.classification_log_rows, settings.classification_log_chars),
        metrics=metrics,
        tracer=tracer,
    )


def _queue(
    metrics: ApiMetrics, name: str, max_waiting: int, timeout_s: float, usual_s: float, at_once: int = 1
) -> Admission:
    admission = Admission(name, max_waiting, timeout_s, usual_s, metrics.queue(name), at_once=at_once)
    metrics.waiting(name, admission.waiting)
    return admission


@contextmanager
def _releases(settings: Settings, shared: Shared, shipped: Release | None) -> Iterator[Releases]:
    with closing(open_aliases(settings)) as aliases:
        sources = Sources(aliases, shipped, settings.releases_dir, settings.models_dir)
        loader = Loader(settings, shared)
        champion, refused = first(sources, loader)
        loading = _queue(shared.metrics, "release", _MAX_WAITING_FOR_RELEASE, settings.queue_timeout_s, usual_s=5.0)
        releases = Releases(champion, sources, loader, loading)
        with closing(Follower(releases, sources, settings.release_poll_s, refused)) as follower:
            follower.start()
            yield releases


@contextmanager
def _views(
    settings: Settings, catalog: Catalog, encoder: Encoder
) -> Iterator[tuple[IndexView | None, LexicalView | None]]:
    """The views that the setting `retrieval` needs, up to date; a library that none of them needs is not imported."""
    if others := count_of_others(catalog.database, encoder.id):
        fields = {"documents": others, "encoder": encoder.id}
        _log.warning(
            "documents of another encoder are not found: %d; `capstone reindex` brings them back",
            others,
            extra={"fields": fields},
        )
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
    history = catalog.history()  # what was indexed of this catalog before it was restored is another's
    store = open_store(
        settings.vector_store,
        folder=settings.snapshots_dir,
        chroma_url=settings.chroma_url,
        encoder_id=f"{encoder.id} {history:x}" if history else encoder.id,
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
