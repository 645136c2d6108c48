"""A compute multiplier over sizes as data: values, intervals, and whether they exclude 1.

Both estimators answer with this, see `adana.laws.multiplier_curve`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDING = 1e-9
"""An end this close to 1 is 1: a bound where the ladder of both ends at the same compute."""


@dataclass(frozen=True)
class MultiplierCurve:
    """M of one optimizer against the baseline at each of `compute`; arrays of one shape."""

    name: str
    baseline: str
    estimator: str
    """``fitted`` or ``piecewise``."""
    compute: Floats
    value: Floats
    """NaN where it cannot say."""
    low: Floats
    """NaN where the interval is open at this end, or there is none."""
    high: Floats
    inside: NDArray[np.bool_]
    """Whether the runs of both reach: elsewhere the value is an extrapolation, or NaN."""
    separable: NDArray[np.bool_]
    """Whether the interval excludes 1. False also where there is no interval."""
    level: float
    statements: tuple[str, ...]


def interval_excludes_one(low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether each interval lies on one side of M = 1; NaN is an open end.

    With one end open, an interval that begins at 1 excludes it: the draws there lie beyond what the
    baseline reached with the same compute.
    """
    above = (low > 1 + ROUNDING) | (np.isnan(high) & (low >= 1 - ROUNDING))
    below = (high < 1 - ROUNDING) | (np.isnan(low) & (high <= 1 + ROUNDING))
    apart: NDArray[np.bool_] = above | below
    return apart


def separability(found: MultiplierCurve) -> str:
    """Say at how many computes the optimizer can be told from the baseline."""
    judged = found.inside | np.isnan(found.value)  # an extrapolation tells nothing
    apart, count = int(found.separable[judged].sum()), int(judged.sum())
    level = f"{100 * found.level:g} %"
    if not count:
        return f"{found.name} is not told from {found.baseline}: all of it is extrapolated"
    if not apart:
        holds = f"no {level} interval excludes 1"
        return f"{found.name} is not separable from {found.baseline}: {holds}"
    where = f"at all {count} computes" if count > 1 else "at the one compute"
    if apart < count:
        where = f"at {apart} of {count} computes, not separable at the others"
    return f"{found.name} can be told from {found.baseline} {where} ({level} intervals)"
