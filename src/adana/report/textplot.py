"""Curves in a terminal, of characters alone: they survive a log file and a pipe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

BARS = "▁▂▃▄▅▆▇█"
MARKS = "abcdefghijklmnopqrstuvwxyz"
"""One letter a curve."""
HEAD = 0.05
"""Share of a curve's beginning that may leave the chart at the top: losses fall from far above."""

Curve = Sequence[tuple[float, float]]


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return one line of bars, the newest value at the right; non-finite values are blank.

    Longer series are averaged down to `width`.

    >>> sparkline([1, 2, 3, 4, 5, 6, 7, 8])
    '▁▂▃▄▅▆▇█'
    """
    groups = _groups(values, width)
    finite = [value for value in groups if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in groups
    )


def line_chart(
    curves: Mapping[str, Curve], width: int = 72, height: int = 14, x_name: str = "step"
) -> str:
    """Return a chart of ``{name: [(x, y), ...]}`` with a letter for each curve, and its legend.

    The y axis leaves out the first `HEAD` of the x axis, so that the end can be told apart. A place
    that several curves share shows ``*``. Empty if there is no finite point.
    """
    points = {
        name: [(x, y) for x, y in curve if math.isfinite(y)] for name, curve in curves.items()
    }
    points = {name: curve for name, curve in points.items() if curve}
    if not points:
        return ""
    right = max(x for curve in points.values() for x, _ in curve)
    shown = [y for curve in points.values() for x, y in curve if x >= HEAD * right]
    low, high = min(shown), max(shown)
    grid = [[" "] * width for _ in range(height)]
    for mark, curve in zip(_marks(len(points)), points.values(), strict=True):
        _draw(grid, mark, curve, right, (low, high))
    labels = [f"{high:8.3f} ", *[" " * 9] * (height - 2), f"{low:8.3f} "]
    lines = [f"{label}|{''.join(row)}" for label, row in zip(labels, grid, strict=True)]
    lines.append(" " * 9 + "+" + "-" * width)
    lines.append(" " * 10 + f"0{f'{right:,.0f} {x_name}':>{width - 1}}")
    legend = zip(_marks(len(points)), points, strict=True)
    return "\n".join([*lines, *(f"{'':10}{mark} {name}" for mark, name in legend)])


def _marks(count: int) -> list[str]:
    return [MARKS[i % len(MARKS)] for i in range(count)]


def _draw(
    grid: list[list[str]], mark: str, curve: Curve, right: float, limits: tuple[float, float]
) -> None:
    """Put the mean of a curve in each column that it has points in."""
    height, width = len(grid), len(grid[0])
    low, high = limits
    columns: dict[int, list[float]] = {}
    for x, y in curve:
        columns.setdefault(round(x / right * (width - 1)) if right else 0, []).append(y)
    for column, values in columns.items():
        y = sum(values) / len(values)
        if not low <= y <= high:
            continue
        share = (high - y) / (high - low) if high > low else 0.0
        cell = grid[round(share * (height - 1))]
        cell[column] = mark if cell[column] == " " else "*"


def _groups(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
