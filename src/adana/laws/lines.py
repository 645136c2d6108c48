"""Losses joined by straight lines in (log C, log L), and the compute at which they reach a loss.

The inverse behind every multiplier that rests on no law: of one comparison (`multiplier`), and of a
curve over sizes (`piecewise`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def invert_lines(x: Floats, y: Floats, targets: Floats, extrapolate: bool, bend: bool) -> Floats:
    """Return the range of ln C (rows, 2, targets) where each row's lines have the log losses.

    `x` (points,), `y` (rows, points) and `targets` (rows, targets). Both ends agree inside; outside
    they are open, or extrapolated. A row whose losses do not fall knows nothing.
    """
    points = len(x)
    left = np.clip((y[:, None, :] > targets[:, :, None]).sum(axis=2) - 1, 0, max(points - 2, 0))
    rows = np.arange(len(y))[:, None]
    right = np.minimum(left + 1, points - 1)
    width, fall = x[right] - x[left], y[rows, right] - y[rows, left]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (targets - y[rows, left]) / fall
        if bend and points > 2:
            drop = bends(x, y)[rows, left] * width**2 / 2
            for _ in range(3):
                sag = drop * np.clip(part, 0, 1) * (1 - np.clip(part, 0, 1))
                part = (targets + sag - y[rows, left]) / fall
    exact = x[left] + part * width if points > 1 else np.full(targets.shape, x[0])
    low, high = exact.copy(), exact.copy()
    if not extrapolate:
        low = np.where(targets > y[:, :1], -np.inf, np.where(targets < y[:, -1:], x[-1], exact))
        high = np.where(targets > y[:, :1], x[0], np.where(targets < y[:, -1:], np.inf, exact))
    broken = np.any(np.diff(y, axis=1) >= 0, axis=1, keepdims=True)
    low, high = np.where(broken, -np.inf, low), np.where(broken, np.inf, high)
    return np.stack([low, high], axis=1)


def bends(x: Floats, y: Floats) -> Floats:
    """Return the second derivative of each segment, from its neighbours, shape (rows, segments).

    Never below 0: where three points bend the other way, that is noise, or no loss law.
    """
    slopes = np.diff(y, axis=1) / np.diff(x)
    second = np.maximum(0.0, 2 * np.diff(slopes, axis=1) / (x[2:] - x[:-2]))
    padded = np.concatenate([second[:, :1], second, second[:, -1:]], axis=1)
    found: Floats = (padded[:, 1:] + padded[:, :-1]) / 2
    return found
