"""Pictures of a report: is its confidence deserved, and what does a threshold cost?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from models.classifier.abstention import curve_of
from models.svg import svg

Report = Mapping[str, Any]
SIDE_INCHES = 4.2


def reliability_svg(report: Report) -> str:
    """Accuracy against confidence, before and after scaling; the area of a dot is its number of rows."""
    figure, axes = _square("confidence", "accuracy")
    rows = report["rows"]["test"]["rows"]
    for name, colour in (("before", "#c77d0a"), ("after", "#1f6fb4")):
        part = report["calibration"][name]
        bins = part["bins"]
        axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], color=colour, linewidth=1)
        error = part["calibration_error"]["value"]
        axes.scatter(
            [b["confidence"] for b in bins],
            [b["accuracy"] for b in bins],
            s=[20 + 400 * b["rows"] / rows for b in bins],
            color=colour,
            alpha=0.6,
            label=f"{name} scaling, error {error:.3f}",
        )
    legend = axes.legend(loc="upper left", frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return svg(figure)


def roc_svg(report: Report) -> str:
    """True against false positive rate of every system."""
    figure, axes = _square("false positive rate", "true positive rate")
    areas = {name: table["roc_auc"]["value"] for name, table in report["systems"].items()}
    if "retrieval" in report["roc"]:
        areas["retrieval"] = report["ranking"]["retrieval"]["roc_auc"]["value"]
    for name in sorted(set(areas) - {"majority"}, key=lambda name: -areas[name]):
        points = report["roc"][name]
        width = 2.2 if name == "classifier" else 1.1
        label = f"{name.replace('_', ' ')} {areas[name]:.3f}"
        axes.plot([x for x, _ in points], [y for _, y in points], linewidth=width, label=label)
    axes.legend(loc="lower right", frameon=False, title="area under the curve")
    return svg(figure)


def abstention_svg(report: Report) -> str:
    """Risk against coverage: what share of the answered questions cannot be answered, if so many are."""
    figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), xlabel="questions answered", ylabel="of these, unanswerable")
    axes.plot(*curve_of(report["abstention"]), color="#1f6fb4", linewidth=2)
    axes.set_ylim(bottom=0)
    return svg(figure)


def _square(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1.01), xlabel=x, ylabel=y, aspect="equal")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    return figure, axes
