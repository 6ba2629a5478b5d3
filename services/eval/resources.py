"""What the eval service holds open while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import Request

from services.core.aliases import open_aliases
from services.core.catalog import Catalog
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.eval.alerts import AlertDesk
from services.eval.approvals import Approvals
from services.eval.at_scrape import tell_of_evaluations, tell_of_retraining
from services.eval.drift_metrics import tell_of_drift
from services.eval.drift_store import DriftStore
from services.eval.named import ReleaseNames
from services.eval.promote import Promotions
from services.eval.retraining import RetrainingStore
from services.eval.store import EvaluationStore
from services.eval.verdicts import VerdictStore


@dataclass(frozen=True)
class EvalResources:
    """`scoring` is held by the one request at a time that scores in several processes."""

    settings: Settings
    catalog: Catalog
    evaluations: EvaluationStore
    verdicts: VerdictStore
    names: ReleaseNames
    promotions: Promotions
    drift: DriftStore
    retraining: RetrainingStore
    approvals: Approvals
    alerts: AlertDesk
    scoring: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        self.catalog.database.check()


def resources_of(request: Request) -> EvalResources:
    resources = request.app.state.eval
    assert isinstance(resources, EvalResources)
    return resources


@contextmanager
def open_resources(settings: Settings, telemetry: Telemetry) -> Iterator[EvalResources]:
    catalog, aliases = Catalog(settings.catalog_url), open_aliases(settings)
    try:
        catalog.migrate()
        names, verdicts = ReleaseNames(settings, aliases), VerdictStore(catalog.database)
        promotions, runs = Promotions(settings, catalog.database, names), RetrainingStore(catalog)
        tell_of_evaluations(telemetry, catalog.database, verdicts)
        drift = DriftStore(catalog)
        tell_of_drift(telemetry, settings, drift)
        tell_of_retraining(telemetry, runs)
        yield EvalResources(
            settings,
            catalog,
            EvaluationStore(catalog),
            verdicts,
            names,
            promotions,
            drift,
            runs,
            Approvals(runs, promotions, names),
            AlertDesk(settings, catalog, runs, telemetry),
        )
    finally:
        aliases.close()
        catalog.close()
