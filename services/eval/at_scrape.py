"""What Prometheus is told, from the catalog, of evaluations, verdicts and retraining runs: others do that work."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from services.core.database import Database
from services.core.job_metrics import JobFigures
from services.core.telemetry import Telemetry
from services.core.types import JobKind
from services.eval.retraining import RetrainingStore
from services.eval.verdicts import VerdictStore


def tell_of_retraining(telemetry: Telemetry, runs: RetrainingStore) -> None:
    def by_status() -> Iterable[Metric]:
        found = GaugeMetricFamily("retraining_runs", "Retraining runs there are.", labels=["status"])
        for status, count in runs.counts().items():
            found.add_metric([status], count)
        yield found

    telemetry.at_scrape("eval", by_status)


def tell_of_evaluations(telemetry: Telemetry, database: Database, verdicts: VerdictStore) -> None:
    def gate() -> Iterable[Metric]:
        said = CounterMetricFamily("gate_verdicts", "What the gate said of two releases.", labels=["passed"])
        for passed, count in verdicts.counts().items():
            said.add_metric([str(passed).lower()], count)
        yield said

    telemetry.at_scrape("eval", gate)
    telemetry.at_scrape("eval", JobFigures(database, JobKind.evaluation, "evaluation").read)
