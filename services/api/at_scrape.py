"""What Prometheus is told of the releases and views of this process, when it asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.api.releases import Releases
from services.api.shadow import Shadow
from services.core.telemetry import Telemetry
from services.core.view import View


def tell_of_views(telemetry: Telemetry, views: Mapping[str, View]) -> None:
    """Rows may be counted by a vector store elsewhere, and the lag by the catalog."""

    def rows() -> Iterable[Metric]:
        family = GaugeMetricFamily("index_rows", "Chunks in this process's views.", labels=["view"])
        for name, view in views.items():
            family.add_metric([name], view.count())
        yield family

    def lag() -> Iterable[Metric]:
        family = GaugeMetricFamily("index_lag", "Committed changes a view has not applied.", labels=["view"])
        for name, view in views.items():
            family.add_metric([name], view.lag())
        yield family

    telemetry.at_scrape("api", rows)
    telemetry.at_scrape("api", lag)


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
