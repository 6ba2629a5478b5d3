"""Plots as SVG for the inside of a page: no script, no file, no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

COLOURS = ("#1f6fb4", "#c77d0a", "#8a8f98")
_WIDTH, _LEFT, _RIGHT, _TOP = 720, 190, 60, 34  # pixels; labels stand left of the axis, values right of the bars
_BAR, _GAP = 13, 10
_LABEL_MAX_CHARS = 27
_TICKS = 5
_BINS = 20


def interval_bars(
    title: str, series: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, float] | None]], unit: str = ""
) -> str:
    """Horizontal bars, a group for each row and in it one for each of `series`, each with its interval.

    A value is a figure's facts (`value`, `low`, `high`) or None, which leaves its place empty.
    """
    shown = [facts for group in rows.values() for facts in group if facts]
    most = _round_up(max((facts["high"] for facts in shown), default=1.0))
    group_px = len(series) * _BAR + _GAP
    height = _TOP + len(rows) * group_px + 24
    out = [_axis(most, height, unit), _legend(series)]
    for at, (name, group) in enumerate(rows.items()):
        top = _TOP + at * group_px
        label = name if len(name) <= _LABEL_MAX_CHARS else name[: _LABEL_MAX_CHARS - 1] + "…"
        out.append(_text(_LEFT - 8, top + (len(series) * _BAR) / 2 + 4, label, "end"))
        for place, facts in enumerate(group):
            if facts:
                out.append(_bar(top + place * _BAR, facts, most, COLOURS[place % len(COLOURS)]))
    return _svg(title, height, out)


def histogram(title: str, values: Sequence[float], unit: str) -> str:
    """How often values of each size occur, from 0 to the largest."""
    most = _round_up(max(values, default=1.0))
    counts = [0] * _BINS
    for value in values:
        counts[min(int(value / most * _BINS), _BINS - 1)] += 1
    height, high = 190, 120
    bar_px = (_WIDTH - _LEFT - _RIGHT) / _BINS
    out = [_axis(most, height, unit)]
    for at, count in enumerate(counts):
        size = high * count / max(counts)
        left, top = _LEFT + at * bar_px, height - 24 - size
        out.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{bar_px - 1:.1f}" height="{size:.1f}" fill="{COLOURS[0]}">'
            f"<title>{count}</title></rect>"
        )
    out.append(_text(_LEFT - 8, height - 24 - high + 4, f"{max(counts)} questions", "end"))
    return _svg(title, height, out)


def interval_line(title: str, low: float, value: float, high: float, marks: Mapping[str, float]) -> str:
    """One value with its interval on a line, and where `marks` (name: place) are; values may lie below 0."""
    places = [low, value, high, *marks.values()]
    edge = 0.08 * (max(places) - min(places)) or 1.0
    first, last = min(places) - edge, max(places) + edge

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (at - first) / (last - first)

    height, middle = 62, 30
    label = title if len(title) <= _LABEL_MAX_CHARS else title[: _LABEL_MAX_CHARS - 1] + "…"
    out = [_text(_LEFT - 8, middle + 4, label, "end")]
    for number, (name, at) in enumerate(marks.items()):
        out.append(
            f'<path d="M{x(at):.1f} 12V{middle + 12}" stroke="{COLOURS[1 + number % 2]}" stroke-dasharray="3 2"/>'
        )
        out.append(_text(x(at), 10 if number % 2 else height - 6, f"{name} {at:.3g}", "middle"))
    said = f"{value:.3g} [{low:.3g}, {high:.3g}]"
    out.append(
        f"<g><title>{said}</title>"
        f'<path d="M{x(low):.1f} {middle}H{x(high):.1f}M{x(low):.1f} {middle - 5}v10M{x(high):.1f} {middle - 5}v10"'
        f' stroke="#222"/><circle cx="{x(value):.1f}" cy="{middle}" r="4" fill="{COLOURS[0]}"/></g>'
    )
    return _svg(f"{title}: {said}", height, out)


def _bar(top: float, facts: Mapping[str, float], most: float, colour: str) -> str:
    value, low, high = (_x(facts[name], most) for name in ("value", "low", "high"))
    middle = top + _BAR / 2
    number = f"{facts['value']:.3g}"
    said = f"{number} [{facts['low']:.3g}, {facts['high']:.3g}]"
    return (
        f'<g><title>{said}</title><rect x="{_LEFT}" y="{top + 1}" width="{max(value - _LEFT, 0):.1f}"'
        f' height="{_BAR - 2}" fill="{colour}"/>'
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 3}v6M{high:.1f} {middle - 3}v6" stroke="#222"/>'
        f"{_text(high + 5, middle + 4, number, 'start')}</g>"
    )


def _axis(most: float, height: float, unit: str) -> str:
    out = []
    for tick in range(_TICKS + 1):
        value = most * tick / _TICKS
        x = _x(value, most)
        out.append(f'<path d="M{x:.1f} {_TOP - 4}V{height - 22}" stroke="#ddd"/>')
        out.append(_text(x, height - 8, f"{value:g}{unit}", "middle"))
    return "".join(out)


def _legend(series: Sequence[str]) -> str:
    out, x = [], float(_LEFT)
    for at, name in enumerate(series if len(series) > 1 else ()):
        out.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{COLOURS[at % len(COLOURS)]}"/>')
        out.append(_text(x + 15, 17, name, "start"))
        x += 40 + 7 * len(name)
    return "".join(out)


def _x(value: float, most: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / most


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value - 1e-12)


def _text(x: float, y: float, text: Any, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(text))}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" font-family="sans-serif" font-size="12">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
