"""The compute at which a law reaches a loss: the inverse that every multiplier needs.

``ln(b e^(-c x) + e e^(-f x)) - ln(L - a)`` falls with ``x = ln C`` and is convex, so Newton's step
from anywhere lands left of the root and then climbs to it without overshooting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 60
"""Newton steps at most; ten are typical."""


def log_compute_at(laws: Floats, losses: Floats) -> Floats:
    """Return ln C where each law (..., 5) of (a, b, c, e, f) has the loss `losses` (...).

    Infinite where the loss lies at or below the saturation: no compute reaches it. NaN for a law
    without a falling term.
    """
    a, b, c, e, f = np.moveaxis(np.broadcast_to(laws, (*losses.shape, 5)), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_b, log_e, target = np.log(b), np.log(e), np.log(np.maximum(losses - a, 0))
        x = np.where(b > 0, (log_b - target) / c, (log_e - target) / f)
        x = np.where(np.isfinite(x), x, 0.0)
        for _ in range(STEPS):
            first, second = log_b - c * x, log_e - f * x
            total = np.logaddexp(first, second)
            slope = c * np.exp(first - total) + f * np.exp(second - total)
            step = (total - target) / slope
            step = np.where(np.isfinite(step), step, 0.0)
            x = x + step
            if np.all(np.abs(step) < 1e-12):
                break
    x = np.where(losses <= a, np.inf, x)
    falling: Floats = np.where((b * c > 0) | (e * f > 0), x, np.nan)
    return falling
