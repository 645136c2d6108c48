"""The compute-optimal frontier: the lowest risk of any dimension for a budget of compute.

Compute is `f = d B t`: parameters times samples seen. The frontier is the lower envelope of the
risk curves of many dimensions over f; its exponents are slopes of straight lines in logarithms.
Source: spec/plrf.md sections 7.3 and 13.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from adana.checks import check_range
from adana.plrf.curve import RiskCurve


@dataclass(frozen=True)
class Frontier:
    """The envelope at each `compute`: `risk` P and the `dimension` that reaches it, all (m,).

    Points where the best of the given dimensions is the smallest or the largest are left out: a
    dimension beyond would have been better.
    """

    compute: np.ndarray
    risk: np.ndarray
    dimension: np.ndarray

    def exponents(self, low: float = 0.0, high: float = np.inf) -> tuple[float, float]:
        """Return `(eta, xi)` of `P ~ f^-eta` and `d ~ f^xi`, fitted where `low <= f <= high`.

        Raises `ValueError` with fewer than three points there.
        """
        inside = (self.compute >= low) & (self.compute <= high)
        if inside.sum() < 3:
            raise ValueError(
                f"a slope needs three points of the frontier between {low:g} and {high:g}, got "
                f"{inside.sum()}: give more dimensions or a wider range of compute"
            )
        logs = np.log(self.compute[inside])
        eta = -np.polyfit(logs, np.log(self.risk[inside]), 1)[0]
        xi = np.polyfit(logs, np.log(self.dimension[inside]), 1)[0]
        return float(eta), float(xi)

    def upper_half(self) -> float:
        """Return the middle of the computes in logarithm, from which the upper half begins."""
        return float(np.sqrt(self.compute[0] * self.compute[-1]))


def frontier(
    curves: Mapping[float, RiskCurve], computes: np.ndarray, *, batch: float = 1
) -> Frontier:
    """Return the envelope over `curves`, one per dimension d, at the given computes.

    Between dimensions the risk is a parabola through the best and its two neighbours, in
    logarithms. A curve counts where it reaches: from its first step, or 1, to its last.
    Raises `ValueError` for fewer than three dimensions, where all curves diverged, and where none
    but the smallest or largest dimension is ever best.
    """
    check_range("batch", batch, low=0.0, low_open=True)
    if len(curves) < 3:
        raise ValueError(f"a frontier needs curves of at least 3 dimensions, got {len(curves)}")
    dimensions = np.array(sorted(curves), dtype=np.float64)
    computes = np.asarray(computes, dtype=np.float64)
    logs = np.stack([_log_risks(curves[d], computes / (d * batch)) for d in dimensions])
    best = logs.argmin(axis=0)
    inside = (best > 0) & (best < len(dimensions) - 1)
    columns = np.arange(len(computes))[inside]
    middle = best[inside]
    around = logs[[middle - 1, middle, middle + 1], columns]
    whole = np.isfinite(around).all(axis=0)
    if not whole.any():
        if all(curve.diverged for curve in curves.values()):
            name = next(iter(curves.values())).name
            raise ValueError(f"{name} diverges at every dimension d: take a smaller gain or step")
        raise ValueError(
            "at every compute the best dimension is the smallest or the largest given: "
            "give more dimensions or other computes"
        )
    columns, middle, around = columns[whole], middle[whole], around[:, whole]
    log_d = np.log(dimensions)
    places = log_d[[middle - 1, middle, middle + 1]]
    at, height = _vertex(places, around)
    return Frontier(computes[columns], np.exp(height), np.exp(at))


def risks_by_dimension(
    curve_of: Callable[[int], RiskCurve], dimensions: np.ndarray
) -> dict[float, RiskCurve]:
    """Return `curve_of(d)` for each dimension, rounded to whole numbers."""
    return {int(d): curve_of(int(d)) for d in np.unique(np.round(dimensions).astype(int))}


def _log_risks(curve: RiskCurve, steps: np.ndarray) -> np.ndarray:
    """Logarithms of the risk at steps, infinite outside the curve."""
    known = np.interp(np.log1p(steps), np.log1p(curve.steps), np.log(curve.risk))
    first = max(1, curve.steps[0])
    return np.where((steps >= first) & (steps <= curve.steps[-1]), known, np.inf)


def _vertex(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest points of the parabolas through three points each, arrays of shape (3, m).

    The middle point is the lowest of the three, so each vertex lies between the outer ones.
    """
    left, right = x[0] - x[1], x[2] - x[1]
    slope_left, slope_right = (y[0] - y[1]) / left, (y[2] - y[1]) / right
    curvature = (slope_right - slope_left) / (right - left)
    slope = slope_left - curvature * left
    flat = curvature <= 0
    shift = np.where(flat, 0.0, -slope / (2 * np.where(flat, 1.0, curvature)))
    return x[1] + shift, y[1] + slope * shift + curvature * shift**2
