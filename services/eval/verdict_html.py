"""What the gate said of two releases, as a part of the report."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from services.eval.plots import interval_line

_NO_CHANGE = {"difference": 0.0, "ratio": 1.0}


def verdict_html(outcome: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> str:
    """`outcome` is the verdict in short (`Outcome.facts`), `verdict` the whole as JSON, None if there is none."""
    if verdict is None:
        why = "".join(f"<p>{escape(line)}</p>" for line in outcome["why"])
        return f'<h2>Verdict</h2><div class="warning">None.{why}</div>'
    sides = f"{verdict['challenger']['release']} against {verdict['champion']['release']}"
    said = "passed" if outcome["passed"] else "did not pass"
    why = "".join(f"<br>{escape(line)}" for line in outcome["why"])
    rows = "".join(_row(name, one) for name, one in verdict["metrics"].items())
    return (
        f'<h2>Verdict</h2><p class="{"passed" if outcome["passed"] else "warning"}">{escape(sides)}: <b>{said}</b>, '
        f"{verdict['questions']['count']} questions, {escape(str(outcome['id']))}{why}</p>"
        "<p>Challenger minus champion, or through it; both were asked each question in turn. The interval must lie on "
        "the better side of the margin in each, and in one of those to gain on the better side of no change.</p>"
        "<table><thead><tr><th></th><th>champion</th><th>challenger</th><th>change</th><th>margin</th><th>held</th>"
        f"<th>gained</th></tr></thead><tbody>{rows}</tbody></table>"
        + "".join(_plot(name, one) for name, one in verdict["metrics"].items())
    )


def _row(name: str, one: Mapping[str, Any]) -> str:
    gained = "not asked for" if one["gained"] is None else _yes(one["gained"])
    cells = [
        f"{one['champion']:.3f}",
        f"{one['challenger']:.3f}",
        f"{_figure(one['estimate'])}<small>[{_figure(one['low'])}, {_figure(one['high'])}]</small>",
        f"{one['margin']:g} ({one['compare']}, {one['better']} is better)",
        _yes(one["passed"]),
        gained,
    ]
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _plot(name: str, one: Mapping[str, Any]) -> str:
    if None in (one["low"], one["estimate"], one["high"]):
        return ""
    bound = one["margin"]
    if one["better"] == "higher":
        bound = -bound if one["compare"] == "difference" else 1 / bound
    marks = {"no change": _NO_CHANGE[one["compare"]], "margin": bound}
    return interval_line(name, one["low"], one["estimate"], one["high"], marks)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
