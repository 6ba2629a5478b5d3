"""What a dashboard is made of here: panels with a unit, a sentence, and where it means something, a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

_PROMETHEUS = DataSourceRef("prometheus", "capstone-prometheus")  # the uid in provisioning/datasources
_HEIGHT, _WIDTH = 8, 8  # three panels a row of Grafana's 24 columns
Unit = Literal["s", "percentunit", "short", "reqps", "ops", "bytes"]


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Limit:
    """From `value` on it is bad (red), or with `low`, below it."""

    value: float
    low: bool = False


@dataclass(frozen=True)
class Panel:
    """`now`: one number instead of a curve."""

    title: str
    description: str
    unit: Unit
    queries: Sequence[Query]
    limit: Limit | None = None
    now: bool = False


@dataclass(frozen=True)
class Board:
    uid: str
    title: str
    description: str
    panels: Sequence[Panel]


def quantiles(metric: str, by: str = "", of: Sequence[float] = (0.5, 0.95), window: str = "5m") -> list[Query]:
    """Of a histogram, for each value of the label `by`."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    rates = f"sum by ({labels}) (rate({metric}_bucket[{window}]))"
    return [Query(f"histogram_quantile({q}, {rates})", f"p{q * 100:g}{legend}") for q in of]


def mean(metric: str, legend: str, by: str = "", window: str = "5m") -> Query:
    """Of a histogram's observations."""
    labels = f" by ({by})" if by else ""
    return Query(f"sum{labels} (rate({metric}_sum[{window}])) / sum{labels} (rate({metric}_count[{window}]))", legend)


def build(board: Board) -> dashboard.Dashboard:
    """As Grafana's own builders know it. The panels are placed from the left to the right."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["capstone"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
    )
    for panel in board.panels:
        built = built.with_panel(_panel(panel))
    return built


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made = stat.Panel() if panel.now else timeseries.Panel().thresholds_style(_style(panel.limit))
    made = made.title(panel.title).description(panel.description).unit(panel.unit).datasource(_PROMETHEUS)
    made = made.height(_HEIGHT).span(_WIDTH).thresholds(_thresholds(panel.limit))
    if panel.unit == "percentunit":
        made = made.min(0).max(1)
    for number, query in enumerate(panel.queries):
        made = made.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .datasource(_PROMETHEUS)
        )
    return made


def _style(limit: Limit | None) -> common.GraphThresholdsStyleConfig:
    mode = GraphThresholdsStyleMode.DASHED if limit else GraphThresholdsStyleMode.OFF
    return common.GraphThresholdsStyleConfig().mode(mode)


def _thresholds(limit: Limit | None) -> dashboard.ThresholdsConfig:
    steps = [Threshold(None, "green")]
    if limit is not None:
        below, above = ("red", "green") if limit.low else ("green", "red")
        steps = [Threshold(None, below), Threshold(limit.value, above)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
