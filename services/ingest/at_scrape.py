"""What Prometheus is told of ingest, from the catalog: the work is done in another process."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from services.core.catalog import Catalog
from services.core.job_metrics import JobFigures
from services.core.telemetry import Telemetry
from services.core.types import JobKind


def tell_of_ingest(telemetry: Telemetry, catalog: Catalog) -> None:
    def documents() -> Iterable[Metric]:
        yield GaugeMetricFamily("ingest_documents", "Documents in the catalog.", catalog.document_count())

    telemetry.at_scrape("ingest", documents)
    telemetry.at_scrape("ingest", JobFigures(catalog.database, JobKind.ingest, "ingest", "pages").read)
