"""What is read off curves: slopes on logarithmic axes, and the lowest point of a sweep."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

Edge = Literal["end", "divergence"]
"""Why a lower point may be near: the lowest is the first or last value that was tried, or beside
one that diverged."""


class Lowest(NamedTuple):
    """The lowest point of a sweep; `edge` is None where it lies between finite values."""

    x: float
    y: float
    edge: Edge | None


def slope(x: Any, y: Any, low: float, high: float) -> float:
    """Return the slope of ln y against ln x between two x, by least squares; NaN without points.

    The curve is sampled evenly in ln x, between its points by a power law, so that dense points
    do not count more.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    good = (x > 0) & (y > 0) & np.isfinite(y)
    x, y = x[good], y[good]
    if x.size < 2 or low < x[0] * 0.999 or high > x[-1] * 1.001:
        return float("nan")
    samples = np.linspace(np.log(low), np.log(high), 30)
    return float(np.polyfit(samples, np.interp(samples, np.log(x), np.log(y)), 1)[0])


def decades(first: int, total_steps: float) -> list[tuple[float, float]]:
    """Return the whole decades from `10^first` to `total_steps` as (start, end)."""
    last = int(np.floor(np.log10(total_steps) + 1e-9))
    return [(10.0**k, 10.0 ** (k + 1)) for k in range(first, last)]


def lowest(x: Any, y: Any) -> Lowest:
    """Return the lowest point of y over increasing x, refined by the parabola through its sides.

    Values that are not finite diverged. Pass logarithms where the axis has them.

    Raises:
        ValueError: no value is finite.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(y)
    if not finite.any():
        raise ValueError("every value of the sweep diverged")
    i = int(np.argmin(np.where(finite, y, np.inf)))
    if not finite[max(i - 1, 0) : i + 2].all():
        return Lowest(float(x[i]), float(y[i]), "divergence")
    if i in (0, x.size - 1):
        return Lowest(float(x[i]), float(y[i]), "end")
    a, b, c = np.polyfit(x[i - 1 : i + 2] - x[i], y[i - 1 : i + 2], 2)
    if a <= 0:
        return Lowest(float(x[i]), float(y[i]), None)
    return Lowest(float(x[i] - b / (2 * a)), float(c - b * b / (4 * a)), None)


def power_law(x: Any, y: Any) -> tuple[float, float]:
    """Return exponent and factor of the power law through the points, by least squares of logs."""
    exponent, log_factor = np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)
    return float(exponent), float(np.exp(log_factor))
