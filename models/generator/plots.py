"""The generator's report as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from models.svg import svg

METRICS = {"contains": "short answer contained", "rougeL": "ROUGE-L"}
COLOURS = {"lora": "#1f6fb4", "base": "#8fb8da", "best_sentence": "#c77d0a", "lead": "#e6c48a"}


def answers_svg(report: Mapping[str, Any]) -> str:
    """Containment and ROUGE-L of each system, gold passage first and not first, with 95 % intervals."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, 2, sharey=True), METRICS.items(), strict=True):
        for at, (name, colour) in enumerate(COLOURS.items()):
            found = [part["systems"][name][metric] for part in report["placements"].values()]
            values = [each["value"] for each in found]
            below = [each["value"] - each["low"] for each in found]
            above = [each["high"] - each["value"] for each in found]
            places = [place + 0.2 * (at - 1.5) for place in range(len(found))]
            label = name.replace("_", " ")
            axes.bar(places, values, width=0.18, yerr=[below, above], color=colour, label=label, error_kw={"lw": 0.8})
        axes.set_xticks(range(len(report["placements"])))
        axes.set_xticklabels([f"gold passage {name.replace('_', ' ')}" for name in report["placements"]])
        axes.set_title(title, fontsize=10)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return svg(figure)
