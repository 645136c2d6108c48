"""The piecewise multiplier: the baseline's own losses joined by lines, and inverted.

A straight line in (log C, log L) is the estimate. The true curve bends below it (every loss law is
convex there), so a line makes the baseline look worse and M larger, by up to a per cent where sizes
are far apart. The interval allows for it: its draws are inverted on the line lowered by the bend
that the neighbouring segments show. The noise of a point is that of the seeds of its size, pooled
over optimizers, or what the caller says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.lines import invert_lines
from adana.laws.multiplier import COPIES, LEVEL
from adana.laws.multiplier_result import MultiplierCurve, interval_excludes_one, separability
from adana.laws.resampling import FARTHEST, Noise
from adana.laws.size_noise import SizeNoise, noise_of_sizes

Floats = NDArray[np.float64]

REPLICATES = 4000
"""Bootstrap draws; the ends of an interval move by about 2 % of its width."""


def piecewise_multiplier(
    baseline: Curve,
    candidate: Curve,
    level: float = LEVEL,
    *,
    extrapolate: bool = False,
    noise: Noise | None = None,
    others: Sequence[Curve] = (),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> MultiplierCurve:
    """Return M at the candidate's own computes.

    Outside of the losses that the baseline reached the value is NaN and a statement says so, or,
    with `extrapolate`, the first or last segment goes on with its slope. `noise` (of the log loss
    of one run) is measured from seeds where it is not given, those of `others` included, and
    without it there is no interval.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage of the interval, between 0 and 1, got {level}")
    x, y = np.log(baseline.computes), np.log(baseline.means)
    at, targets = candidate.computes, np.log(candidate.means)
    monotone = bool(np.all(np.diff(y) < 0))
    open_ends = invert_lines(x, y[None], targets[None], extrapolate, bend=False)[0]
    value = np.exp(np.where(open_ends[0] == open_ends[1], open_ends[0], np.nan)) / at
    inside = (targets <= y[0]) & (targets >= y[-1]) & monotone
    low, high = np.full(len(at), np.nan), np.full(len(at), np.nan)
    curves = (baseline, candidate)
    known = noise_of_sizes((*curves, *others)) if noise is None else SizeNoise.of(noise)
    if known.usable and monotone:
        low, high = _interval(
            curves,
            known,
            level=level,
            extrapolate=extrapolate,
            replicates=replicates,
            seed=seed,
        )
        # The bend moves the draws off the line's own value. An open end (NaN) stays open.
        low = np.where(low > value, value, low)
        high = np.where(high < value, value, high)
    separable = interval_excludes_one(low, high)
    curve = MultiplierCurve(
        candidate.name,
        baseline.name,
        "piecewise",
        at,
        value,
        low,
        high,
        inside,
        separable,
        level,
        (),
    )
    words = _statements(
        curve, monotone=monotone, extrapolate=extrapolate, noise=known, sizes=len(baseline.points)
    )
    return replace(curve, statements=words)


def _interval(
    curves: tuple[Curve, Curve],
    noise: SizeNoise,
    *,
    level: float,
    extrapolate: bool,
    replicates: int,
    seed: int,
) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    drawn = []
    for curve, sigma in zip(curves, noise.draw(curves, replicates, rng), strict=True):
        counts = np.array([len(point.losses) for point in curve.points])
        normal = rng.standard_normal((replicates, len(counts)))
        step = np.clip(sigma / np.sqrt(counts) * normal, -FARTHEST, FARTHEST)
        drawn.append(np.log(curve.means) + step)
    ends = invert_lines(np.log(curves[0].computes), drawn[0], drawn[1], extrapolate, bend=True)
    tail = (1 - level) / 2
    low = np.quantile(ends[:, 0], tail, axis=0, method="lower")
    high = np.quantile(ends[:, 1], 1 - tail, axis=0, method="higher")
    at = curves[1].computes
    return (
        np.where(np.isfinite(low), np.exp(low) / at, np.nan),
        np.where(np.isfinite(high), np.exp(high) / at, np.nan),
    )


def _statements(
    found: MultiplierCurve, *, monotone: bool, extrapolate: bool, noise: SizeNoise, sizes: int
) -> tuple[str, ...]:
    said = []
    if not monotone:
        said.append(
            f"piecewise: cannot say, because the loss of {found.baseline} does not fall from size "
            "to size; run more seeds, or tune it at each size"
        )
    elif not found.inside.all():
        what = "the last segment's slope was extrapolated" if extrapolate else "M is not given"
        where = ", ".join(f"{c:.3g}" for c in found.compute[~found.inside])
        said.append(
            f"piecewise: {found.name} at compute {where} has a loss outside of what "
            f"{found.baseline} reached; {what}"
        )
    if not noise.rest.freedom:
        said.append("piecewise: no interval, every point has one seed; run two seeds somewhere")
    elif not noise.usable:
        said.append(f"piecewise: no interval: {COPIES}")
    elif monotone:
        said.append(f"piecewise: {separability(found)}")
    if monotone and sizes == 2 and np.isfinite(found.value).any():
        said.append(
            f"piecewise: two sizes of {found.baseline} do not show how its curve bends, so the "
            "interval does not allow for that; M is too high, the more the farther they lie apart"
        )
    return tuple(said)
