"""Figures as SVG that is the same every time."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


def svg(figure: Figure) -> str:
    text = io.StringIO()
    # Without a fixed salt and with a date the file would change from run to run.
    with matplotlib.rc_context({"svg.hashsalt": "capstone", "svg.fonttype": "none"}):
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(text, metadata={"Date": None, "Creator": None})
    return text.getvalue()
