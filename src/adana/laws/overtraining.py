"""The equivalent-overtraining exponent: does an optimizer gain more the longer it trains?

At one model size, overtraining is ``f = D / (20 P)``. A candidate that reaches at ``f`` the loss
which the baseline reaches at ``f_eq`` saves a constant factor where ``f_eq / f`` is constant, and
changes the exponent of the data where ``f_eq`` grows faster than ``f`` (spec/peers_harness section
2.4; 2 - kappa is what the theory of DANA predicts).

What is fitted, exactly: `f_eq` of each candidate point is read off the baseline's own losses of the
same model size, joined by straight lines in (log f, log L), never beyond them. Then ::

    ln f_eq = k_P + p ln f

by ordinary least squares over all points, with an intercept for each model size and one exponent
`p` for all. With seeds the interval is a bootstrap of their noise through all of that; without, it
is the regression's own (Student's t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.lines import invert_lines
from adana.laws.multiplier import LEVEL
from adana.laws.quantiles import student_point
from adana.laws.size_noise import SizeNoise, seed_noise

Floats = NDArray[np.float64]

REPLICATES = 2000
"""Bootstrap draws."""


@dataclass(frozen=True)
class Overtraining:
    """The exponent `p` of ``f_eq ~ f^p``, and what it rests on."""

    exponent: float
    low: float
    high: float
    """Ends of the interval; NaN where there is none."""
    points: int
    dropped: int
    """Candidate points whose loss the baseline did not reach, or had passed before its first."""
    level: float
    statement: str


def overtraining_exponent(
    pairs: Sequence[tuple[Curve, Curve]],
    level: float = LEVEL,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Overtraining:
    """Fit `p` to (baseline, candidate) curves over `f`, one pair a model size.

    Raises `ValueError` unless one model size at least has two candidate points whose loss the
    baseline reached.
    """
    if not pairs:
        raise ValueError("no pair of curves was given; give one (baseline, candidate) a model size")
    found = [
        _equivalent(b, c, np.log(b.means)[None], np.log(c.means)[None], bend=False)
        for b, c in pairs
    ]
    x = [np.log(candidate.computes) for _, candidate in pairs]
    exponents, kept, squares = _regress(x, found)
    points, dropped = int(kept[0]), sum(len(values) for values in x) - int(kept[0])
    if np.isnan(exponents[0]):
        raise ValueError(
            "no model size has two candidate points whose loss the baseline reached; train the "
            "baseline at more and longer horizons"
        )
    exponent = float(exponents[0])
    noise = seed_noise([curve for pair in pairs for curve in pair])
    sizes = sum(bool(np.isfinite(values).any()) for values in found)
    low = high = np.nan
    if noise.freedom and noise.sigma:
        draws = _bootstrap(pairs, x, replicates, np.random.default_rng(seed))
        tails = (1 - level) / 2, (1 + level) / 2
        low, high = (float(end) for end in np.nanquantile(draws, tails))
        low, high = min(low, exponent), max(high, exponent)  # the bend moves the draws
    elif (freedom := points - sizes - 1) > 0:
        error = float(np.sqrt(squares[0][0] / freedom / squares[1][0]))
        half = error * student_point((1 + level) / 2, freedom)
        low, high = exponent - half, exponent + half
    statement = _statement(exponent, low, high, points, dropped)
    return Overtraining(exponent, low, high, points, dropped, level, statement)


def _equivalent(
    baseline: Curve, candidate: Curve, base: Floats, own: Floats, *, bend: bool
) -> Floats:
    """Return ln f_eq of each candidate point, NaN outside, shape (rows, points)."""
    ends = invert_lines(np.log(baseline.computes), base, own, extrapolate=False, bend=bend)
    with np.errstate(invalid="ignore"):
        return np.where(ends[:, 0] == ends[:, 1], ends[:, 0], np.nan)


def _regress(x: Sequence[Floats], y: Sequence[Floats]) -> tuple[Floats, Floats, tuple[Floats, ...]]:
    """Return per row the common slope, the points used, and (residual, regressor) squares."""
    top = bottom = total = kept = np.zeros(len(y[0]))
    for abscissa, values in zip(x, y, strict=True):
        there = np.isfinite(values)
        count = np.maximum(there.sum(axis=1, keepdims=True), 1)
        across = np.where(there, abscissa, 0.0)
        up = np.where(there, values, 0.0)
        dx = np.where(there, across - across.sum(axis=1, keepdims=True) / count, 0.0)
        dy = np.where(there, up - up.sum(axis=1, keepdims=True) / count, 0.0)
        top, bottom = top + (dx * dy).sum(axis=1), bottom + (dx**2).sum(axis=1)
        total, kept = total + (dy**2).sum(axis=1), kept + there.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(bottom > 0, top / bottom, np.nan)
    return slope, kept, (np.maximum(total - slope * top, 0), bottom)


def _bootstrap(
    pairs: Sequence[tuple[Curve, Curve]],
    x: Sequence[Floats],
    replicates: int,
    rng: np.random.Generator,
) -> Floats:
    noise = SizeNoise.of(seed_noise([curve for pair in pairs for curve in pair]))
    drawn = []
    for pair in pairs:
        logs = []
        for curve, sigma in zip(pair, noise.draw(pair, replicates, rng), strict=True):
            counts = np.array([len(point.losses) for point in curve.points])
            normal = rng.standard_normal((replicates, len(counts)))
            logs.append(np.log(curve.means) + sigma / np.sqrt(counts) * normal)
        drawn.append(_equivalent(*pair, *logs, bend=True))
    return _regress(x, drawn)[0]


def _statement(exponent: float, low: float, high: float, points: int, dropped: int) -> str:
    where = f"from {points} points" + (f", {dropped} outside of the baseline" if dropped else "")
    if np.isnan(low):
        return f"exponent {exponent:.3g} {where}; no interval: too few points, and one seed each"
    ends = f"{low:.3g} to {high:.3g}"
    if low > 1:
        return f"the gain grows with overtraining: exponent {exponent:.3g} ({ends}) {where}"
    if high < 1:
        return f"the gain shrinks with overtraining: exponent {exponent:.3g} ({ends}) {where}"
    return f"a constant factor is not excluded: exponent {exponent:.3g} ({ends}) {where}"
