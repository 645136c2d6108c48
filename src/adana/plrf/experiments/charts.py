"""The charts of the theory lab: curves over many decades, guides of a slope, points with bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import altair as alt
import numpy as np

from adana.report import drawing
from adana.report.drawing import Chart, inline, rounded

BY = "curve"
"""The field of a row that tells curves apart."""

POINTS = 160
"""Points a curve keeps."""


HEIGHT = 400
"""Of a chart, in pixels."""

HOVER = 4
"""Every so many points of a curve one answers to the pointer."""


def curve(label: str, x: Any, y: Any, **more: Any) -> list[dict[str, Any]]:
    """Return the points of a curve on logarithmic axes as rows: no zeros, thinned, rounded."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    keep = np.flatnonzero((x > 0) & (y > 0) & np.isfinite(y))
    if keep.size > POINTS:
        wanted = np.geomspace(x[keep[0]], x[keep[-1]], POINTS)
        keep = keep[np.unique(np.searchsorted(x[keep], wanted, side="left").clip(0, keep.size - 1))]
    return [{BY: label, "x": rounded(x[i]), "y": rounded(y[i]), **more} for i in keep]


def guide(
    label: str,
    slope: float,
    anchor: tuple[float, float],
    ends: tuple[float, float],
    text: str,
    *,
    below: bool = False,
) -> list[dict[str, Any]]:
    """Return a straight line of a slope through a point, on logarithmic axes, with its text.

    The text stands beside its middle: above the line, or `below`.
    """
    x0, y0 = anchor
    rows = [
        {BY: label, "line": text, "x": rounded(x), "y": rounded(y0 * (x / x0) ** slope)}
        for x in ends
    ]
    middle = float(np.sqrt(ends[0] * ends[1]))
    label_row = {"x": rounded(middle), "y": rounded(y0 * (middle / x0) ** slope), "text": text}
    left = bool(below == (slope <= 0))  # of numpy numbers it would be no True or False of Python
    return [*rows, {BY: label, "below": bool(below), "left": left, **label_row}]


def vertical(label: str, x: float, ends: tuple[float, float], text: str) -> list[dict[str, Any]]:
    """Return an upright line between two heights, with its text near the upper one."""
    rows = [{BY: label, "line": text, "x": x, "y": rounded(y)} for y in ends]
    end = {"x": x, "y": rounded(ends[1] / 1.5), "text": text}
    return [*rows, {BY: label, "below": False, "left": False, **end}]


def log_chart(
    rows: Sequence[dict[str, Any]],
    labels: Sequence[str],
    x: str,
    y: str,
    *,
    guides: Sequence[dict[str, Any]] = (),
    marks: Sequence[dict[str, Any]] = (),
    y_domain: tuple[float, float] | None = None,
    x_log: bool = True,
) -> Chart:
    """Return curves on logarithmic axes, the first label in grey.

    Args:
        rows: points of curves, from `curve`.
        labels: all curves, in the legend's order.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        guides: straight lines, from `guide`.
        marks: points drawn as such; where they have `low` and `high`, with a bar between those.
        y_domain: ends of the vertical axis; what lies outside is cut off.
        x_log: whether the horizontal axis is logarithmic too.
    """
    color = drawing.color(BY, labels)
    color["legend"] = legend(labels)
    across = drawing.axis("x", x, "~e" if x_log else "~g", log=x_log, zero=False, decades=x_log)
    up = drawing.axis("y", y, "~e", alt.Y, domain=y_domain, decades=True)
    layers: list[alt.Chart] = []
    if rows:
        layers += _lines(rows, labels, across, up, color)
    if marks:
        layers += _marks(marks, across, up, color)
    if guides:
        layers += _guides(guides, across, up, color)
    return drawing.layered(BY, layers, height=HEIGHT)


def legend(labels: Sequence[str]) -> alt.Legend:
    """Return a legend that fits a phone: fewer columns for longer names."""
    longest = max(map(len, labels))
    columns = 1 if longest > 24 else 2 if longest > 12 else 3 if longest > 8 else 4
    found = drawing.legend(labels, lines=True)
    found["columns"], found["labelLimit"] = columns, 420
    return found


def _lines(rows: Any, labels: Sequence[str], x: Any, y: Any, color: Any) -> list[alt.Chart]:
    dash = drawing.dash(BY, labels)
    dash["legend"] = legend(labels)
    near = drawing.nearest()
    lines = alt.Chart(inline(list(rows))).mark_line(strokeWidth=2, clip=True)
    lines = lines.encode(x, y, color=color, strokeDash=dash, opacity=drawing.highlight(BY, 1.0))
    hover = alt.Chart(inline(list(rows[::HOVER]))).mark_point(filled=True, size=60, clip=True)
    hover = hover.encode(
        x,
        y,
        color=color,
        tooltip=drawing.tooltips(rows[0]),
        opacity=alt.condition(near, alt.value(1), alt.value(0)),
    ).add_params(near)
    return [lines, hover]


def _marks(marks: Any, x: Any, y: Any, color: Any) -> list[alt.Chart]:
    base = alt.Chart(inline(list(marks))).encode(color=color, opacity=drawing.highlight(BY, 1.0))
    layers = [
        base.mark_point(filled=True, size=45, clip=True).encode(
            x, y, tooltip=drawing.tooltips(marks[0])
        )
    ]
    if "low" in marks[0]:
        bars = base.mark_rule(strokeWidth=1.5, clip=True)
        layers.append(bars.encode(x, alt.Y("low:Q"), alt.Y2("high:Q")))
    return layers


def _guides(guides: Any, x: Any, y: Any, color: Any) -> list[alt.Chart]:
    ends = [row for row in guides if "text" not in row]
    texts = [row for row in guides if "text" in row]
    lines = alt.Chart(inline(ends)).mark_line(strokeWidth=1, strokeDash=[2, 2], clip=True)
    layers = [lines.encode(x, y, color=color, detail="line:N", opacity=drawing.highlight(BY, 0.9))]
    for below, left in product((False, True), repeat=2):
        own = [row for row in texts if row["below"] == below and row["left"] == left]
        if own:
            written = alt.Chart(inline(own)).mark_text(
                align="right" if left else "left",
                dx=-6 if left else 6,
                dy=12 if below else -6,
                fontSize=12,
            )
            opacity = drawing.highlight(BY, 1.0)
            layers.append(written.encode(x, y, text="text:N", color=color, opacity=opacity))
    return layers
