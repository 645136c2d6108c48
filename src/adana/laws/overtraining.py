"""Does an optimizer's lead grow when a model is trained for longer than is usual?

At one model size, overtrained by ``f = D / (20 P)``, the candidate reaches some loss; the baseline
needs ``f_base`` for it. Everett & Qiu (spec/peers_harness section 2.4) describe the two by a power,
``f_base ~ f^p``. They give no procedure, so here is the one used: each of the candidate's losses is
inverted on the baseline's own losses (lines in log-log, corrected for the bend of their
neighbours), and ::

    ln f_base = ln k_size + p ln f

is fitted by least squares with equal weights: one exponent for all sizes, one factor ``k`` a size.
``k`` is the token multiplier at ``f = 1`` and ``k f^(p - 1)`` the one at ``f``; with ``p > 1`` it
grows with the horizon. A damped log-time optimizer is predicted to have ``p = 2 - kappa``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from adana.laws.curves import Curve
from adana.laws.multiplier import LEVEL
from adana.laws.piecewise import invert_lines, seed_noise

Floats = NDArray[np.float64]

REPLICATES = 2000
"""Draws of seed noise; the ends of the interval move by about 3 % of its width."""


@dataclass(frozen=True)
class OvertrainingFit:
    """The exponent p of ``f_base = k f^p``, NaN where it cannot be told."""

    exponent: float
    low: float
    """NaN where there is no interval, or it is open at this end."""
    high: float
    level: float
    factors: Mapping[str, float]
    """By size: k, the token multiplier at f = 1."""
    points: Mapping[str, Floats]
    """By size: rows (f, f_base), those that the fit used."""
    statements: tuple[str, ...]

    def multiplier(self, size: str, overtraining: float) -> float:
        """Return the fitted token multiplier of a size at `overtraining`."""
        return self.factors[size] * overtraining ** (self.exponent - 1)


def overtraining_exponent(
    sizes: Mapping[str, tuple[Curve, Curve]],
    level: float = LEVEL,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> OvertrainingFit:
    """Fit p to the (baseline, candidate) curves of each size; their abscissa is ``f = D / (20 P)``.

    A loss that the baseline did not reach says only that f_base lies outside; such points are left
    out and counted. The interval comes from seed noise pooled over all curves, its own uncertainty
    included; with one seed everywhere, from the scatter around the fitted line, which takes the
    points for independent although they share a baseline, and is therefore a lower bound.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage of the interval, between 0 and 1, got {level}")
    used, said = _usable(sizes)
    count = sum(len(used[name]) for name in used)
    if count < len(used) + 1:
        said.append("cannot say: no size has two losses of the candidate that the baseline reached")
        return OvertrainingFit(math.nan, math.nan, math.nan, level, {}, {}, tuple(said))
    kept = {name: sizes[name] for name in used}
    found = {
        name: _inverted(pair, _log_means(pair, None), used[name])[0] for name, pair in kept.items()
    }
    x = {name: np.log(pair[1].computes[used[name]]) for name, pair in kept.items()}
    exponent = float(_slope(x, {name: value[None] for name, value in found.items()})[0])
    noise = seed_noise([curve for pair in kept.values() for curve in pair])
    if noise.freedom:
        rng = np.random.default_rng(seed)
        sigma = noise.sigma * np.sqrt(noise.freedom / rng.chisquare(noise.freedom, (replicates, 1)))
        drawn = {
            name: _inverted(pair, _log_means(pair, sigma, rng), used[name])
            for name, pair in kept.items()
        }
        low, high = _middle(_slope(x, drawn), level)
        said.append(f"interval from {noise.source}")
    else:
        low, high = _scatter_interval(x, found, exponent, level)
        said.append("one seed everywhere: the interval is from the scatter around the fitted line")
    return OvertrainingFit(
        exponent,
        low,
        high,
        level,
        {n: float(np.exp(found[n].mean() - exponent * x[n].mean())) for n in kept},
        {n: np.exp(np.stack([x[n], found[n]], axis=1)) for n in kept},
        (_in_words(exponent, low, high, level), *said),
    )


def _usable(
    sizes: Mapping[str, tuple[Curve, Curve]],
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Return, by size, the candidate's points within the baseline's losses; and what was left."""
    used, said = {}, []
    for name, (baseline, candidate) in sizes.items():
        if len(baseline.points) < 2 or np.any(np.diff(baseline.means) >= 0):
            said.append(
                f"{name} left out: the loss of {baseline.name} must fall over at least two horizons"
            )
            continue
        losses = candidate.means
        inside = (losses <= baseline.means[0]) & (losses >= baseline.means[-1])
        if not inside.all():
            said.append(
                f"{name}: {int((~inside).sum())} of {len(losses)} losses of {candidate.name} lie "
                f"outside of what {baseline.name} reached; run it at more horizons"
            )
        if inside.any():
            used[name] = np.flatnonzero(inside)
    return used, said


def _log_means(
    pair: tuple[Curve, Curve], sigma: Floats | None, rng: np.random.Generator | None = None
) -> tuple[Floats, Floats]:
    """Return log mean losses (rows, points) of both curves, with seed noise where it is given."""
    means = [np.log(curve.means)[None] for curve in pair]
    if sigma is None or rng is None:
        return means[0], means[1]
    counts = [np.array([len(point.losses) for point in curve.points]) for curve in pair]
    noisy = [
        mean + sigma / np.sqrt(n) * rng.standard_normal((len(sigma), len(n)))
        for mean, n in zip(means, counts, strict=True)
    ]
    return noisy[0], noisy[1]


def _inverted(
    pair: tuple[Curve, Curve], logs: tuple[Floats, Floats], points: NDArray[np.int64]
) -> Floats:
    """Return ln f_base (rows, points) of the candidate's `points`; NaN on a curve that rises.

    Draws that leave the baseline's range a little go on with its last segment: leaving them out
    would bend the fit.
    """
    x = np.log(pair[0].computes)
    ends = invert_lines(x, logs[0], logs[1][:, points], extrapolate=True, bend=True)
    known: Floats = np.where(ends[:, 0] == ends[:, 1], ends[:, 0], np.nan)
    return known


def _slope(x: Mapping[str, Floats], y: Mapping[str, Floats]) -> Floats:
    """Return the common slope of the sizes' rows, each with an intercept of its own."""
    cross = sum(((y[n] - y[n].mean(axis=1, keepdims=True)) @ (x[n] - x[n].mean())) for n in x)
    square = sum(float(np.sum((x[n] - x[n].mean()) ** 2)) for n in x)
    return np.asarray(cross) / square


def _middle(draws: Floats, level: float) -> tuple[float, float]:
    """Return the interval of the draws; a draw that knows nothing pushes both ends open."""
    tail = (1 - level) / 2
    ends = (
        np.quantile(np.where(np.isnan(draws), -np.inf, draws), tail, method="lower"),
        np.quantile(np.where(np.isnan(draws), np.inf, draws), 1 - tail, method="higher"),
    )
    low, high = (float(end) if np.isfinite(end) else math.nan for end in ends)
    return low, high


def _scatter_interval(
    x: Mapping[str, Floats], y: Mapping[str, Floats], exponent: float, level: float
) -> tuple[float, float]:
    freedom = sum(len(values) - 1 for values in x.values()) - 1
    if freedom < 1:
        return math.nan, math.nan
    centred = {n: (x[n] - x[n].mean(), y[n] - y[n].mean()) for n in x}
    rest = sum(float(np.sum((v - exponent * u) ** 2)) for u, v in centred.values())
    square = sum(float(np.sum(u**2)) for u, _ in centred.values())
    half = float(t.isf((1 - level) / 2, freedom)) * math.sqrt(rest / freedom / square)
    return exponent - half, exponent + half


def _in_words(exponent: float, low: float, high: float, level: float) -> str:
    shown = f"p = {exponent:.3f}"
    if math.isnan(low) or math.isnan(high):
        return f"{shown}, without an interval: it cannot be told from 1"
    interval = f"{shown} [{low:.3f}, {high:.3f}] ({100 * level:g} %)"
    if low > 1:
        return f"{interval}: the token multiplier grows with overtraining"
    if high < 1:
        return f"{interval}: the token multiplier shrinks with overtraining"
    return f"{interval}: not separable from 1, a multiplier that stays the same"
