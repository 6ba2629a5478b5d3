"""Drift as Prometheus sees it, read from the catalog when it asks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from services.core.drift_rules import read_drift_rules
from services.core.errors import SettingsProblem
from services.core.settings import Settings
from services.core.telemetry import Telemetry
from services.eval.drift_store import DriftStore

_log = logging.getLogger("capstone.eval")


def tell_of_drift(telemetry: Telemetry, settings: Settings, store: DriftStore) -> None:
    """Of the release that gave the newest captured answer. Without rules that can be read there is only the count."""

    def counted() -> Iterable[Metric]:
        metric = CounterMetricFamily("drift_windows", "Windows that were judged.", labels=["verdict"])
        for drift, count in store.counts().items():
            metric.add_metric(["drift" if drift else "steady"], count)
        yield metric

    def gauges() -> Iterable[Metric]:
        try:
            rules = read_drift_rules(settings.params)
        except SettingsProblem as error:
            _log.warning("no drift metrics", extra={"fields": {"error": error.detail}})
            return
        state = store.state(rules, limit=1)
        yield GaugeMetricFamily("drift_alarm", "1: the last windows in a row have drifted.", float(state.alarm))
        rows = state.reference.row_count if state.reference else 0
        yield GaugeMetricFamily("drift_reference_rows", "Captures in the reference; 0: there is none.", rows)
        score = GaugeMetricFamily("drift_score", "Of the last full window.", labels=["test"])
        threshold = GaugeMetricFamily("drift_threshold", "A score above it is drift.", labels=["test"])
        age = GaugeMetricFamily("drift_last_window_age_seconds", "Since the last full window was judged.", labels=())
        last = store.last_judged(state.reference) if state.reference else None
        if last is not None:
            for test in last.tests or []:
                score.add_metric([test["name"]], test["score"])
                threshold.add_metric([test["name"]], test["threshold"])
            age.add_metric([], max(0.0, time.time() - (last.judged_at or 0.0)))
        yield from (score, threshold, age)

    telemetry.at_scrape("eval", counted)
    telemetry.at_scrape("eval", gauges)
