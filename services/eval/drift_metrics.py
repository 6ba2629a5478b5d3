"""Drift as Prometheus sees it, read from the catalog when it asks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.core.drift_rules import read_drift_rules
from services.core.errors import SettingsProblem
from services.core.settings import Settings
from services.eval.drift_store import DriftStore, State

_WINDOWS = 20  # among which one is that has been judged, unless the worker is far behind
_log = logging.getLogger("capstone.eval")


class DriftMetrics(Collector):
    """Of the release that gave the newest captured answer. Without rules that can be read there is only the count."""

    def __init__(self, settings: Settings, store: DriftStore) -> None:
        self._settings = settings
        self._store = store

    def describe(self) -> list[Metric]:
        return [self._counted({})]

    def collect(self) -> Iterator[Metric]:
        yield self._counted({True: 0, False: 0} | self._store.counts())
        try:
            state = self._store.state(read_drift_rules(self._settings.params), _WINDOWS)
        except SettingsProblem as error:
            _log.warning("no drift metrics", extra={"fields": {"error": error.detail}})
            return
        yield from _gauges(state)

    def _counted(self, counts: dict[bool, int]) -> Metric:
        metric = CounterMetricFamily("drift_windows", "Windows that were judged.", labels=["verdict"])
        for drift, count in counts.items():
            metric.add_metric(["drift" if drift else "steady"], count)
        return metric


def _gauges(state: State) -> Iterator[Metric]:
    yield GaugeMetricFamily("drift_alarm", "1: the last windows in a row have drifted.", float(state.alarm))
    rows = state.reference.row_count if state.reference else 0
    yield GaugeMetricFamily("drift_reference_rows", "Captures in the reference; 0: there is none.", rows)
    judged = [window for window in state.windows if window.number is not None and window.tests is not None]
    last = max(judged, key=lambda window: window.number or 0, default=None)
    score = GaugeMetricFamily("drift_score", "Of the last full window.", labels=["test"])
    threshold = GaugeMetricFamily("drift_threshold", "A score above it is drift.", labels=["test"])
    age = GaugeMetricFamily("drift_last_window_age_seconds", "Since the last full window was judged.", labels=())
    if last is not None:
        for test in last.tests or []:
            score.add_metric([test["name"]], test["score"])
            threshold.add_metric([test["name"]], test["threshold"])
        age.add_metric([], max(0.0, time.time() - (last.judged_at or 0.0)))
    yield from (score, threshold, age)
