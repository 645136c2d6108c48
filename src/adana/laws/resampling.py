"""Draws of the data as they might have come out: the bootstrap behind every interval of a law.

Two kinds. ``residuals`` (default) puts new noise on the fitted law. Its size is that of the
residuals, divided by the degrees of freedom that the fit left instead of by the number of points,
larger at points that have fewer seeds than others, and drawn itself for every draw
(``s^2 df / chi2(df)``), since a few sizes know it only roughly: without that, a ladder of four
sizes gets intervals that hold the truth far too rarely. Curves get independent noise; where a size
was easy for all optimizers alike, differences between curves are surer than this says.

``sizes`` draws whole sizes with replacement, all curves of a size together, and the seeds within
each: no assumption about the noise, and what curves share stays shared, but it needs many sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.joint_fit import Problem, robust_cost
from adana.laws.multiplier import pooled_variance

Floats = NDArray[np.float64]
Kind = Literal["residuals", "sizes"]

FARTHEST = 20.0
"""How far a drawn log loss lies from the law at most: a factor of 5e8, beyond any quantile."""

ATTEMPTS = 200
"""Redraws of a draw that holds too few different sizes, before the ladder is called too short."""


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a point's log loss around the law, and how well it is known."""

    sigma: float
    freedom: int
    """Degrees of freedom behind `sigma`; 0 where nothing tells the noise."""
    source: str
    """Where it comes from, in words."""
    relative: tuple[float, ...] = ()
    """By point: its noise in units of `sigma`, where points differ in it."""

    def draw(self, draws: int, rng: np.random.Generator) -> Floats:
        """Return what `sigma` may truly be, ``s^2 df / chi2(df)``, shape (draws,).

        Few degrees of freedom know it only roughly. There must be at least one.
        """
        drawn: Floats = self.sigma * np.sqrt(self.freedom / rng.chisquare(self.freedom, draws))
        return drawn


def measure_noise(
    problem: Problem, parameters: Floats, logs: Floats, delta: float, curves: Sequence[Curve]
) -> Noise:
    """Measure the noise from the residuals, or from the seeds where the law fits every point."""
    freedom = len(logs) - problem.free
    if freedom > 0:
        residuals = problem.predict(parameters[None]) - logs
        # Weights say which sizes matter to the fit, not how noisy they are.
        cost = float(robust_cost(residuals, np.ones_like(problem.weights), delta)[0])
        return Noise(
            sigma=float(np.sqrt(cost / freedom)),
            freedom=freedom,
            source=f"the residuals ({freedom} degrees of freedom)",
            relative=_relative(cost / freedom, curves),
        )
    groups = [np.log(point.losses).tolist() for curve in curves for point in curve.points]
    variance, freedom = pooled_variance(groups)
    if not freedom:
        return Noise(0.0, 0, "nothing: as many parameters as points, and one seed each")
    seeds = float(np.mean([1 / len(group) for group in groups]))
    return Noise(
        float(np.sqrt(variance * seeds)), freedom, f"seeds only ({freedom} degrees of freedom)"
    )


def _relative(variance: float, curves: Sequence[Curve]) -> tuple[float, ...]:
    """Return by how much points of few seeds are noisier; empty where all have equally many.

    Of the residuals' variance a part is that of seeds, over their number, and the rest the law's.
    """
    groups = [np.log(point.losses).tolist() for curve in curves for point in curve.points]
    shares = 1 / np.array([len(group) for group in groups])
    seeds, freedom = pooled_variance(groups)
    if not freedom or np.ptp(shares) == 0:
        return ()
    own = max(0.0, variance - seeds * shares.mean()) + seeds * shares
    return tuple(np.sqrt(own / own.mean()).tolist()) if own.mean() else ()


def draw_residuals(
    problem: Problem,
    parameters: Floats,
    noise: Noise,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Return `draws` data sets of log losses around the fitted law, shape (draws, points)."""
    law = problem.predict(parameters[None])
    sigma = noise.draw(draws, rng)[:, None]
    normal = rng.standard_normal((draws, law.shape[1]))
    if noise.relative:
        normal = normal * np.array(noise.relative)
    # With one degree of freedom a draw of sigma may be astronomic: kept where exp() is finite.
    drawn: Floats = np.clip(law + sigma * normal, law - FARTHEST, law + FARTHEST)
    return drawn


def draw_sizes(
    curves: Sequence[Curve], enough: int, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return log losses and the multiplicity of each point, both (draws, points).

    Every curve keeps at least `enough` different sizes in every draw.
    """
    computes = np.concatenate([curve.computes for curve in curves])
    owner = np.repeat(np.arange(len(curves)), [len(curve.points) for curve in curves])
    sizes, size = np.unique([f"{compute:.3g}" for compute in computes], return_inverse=True)
    counts = _draw_counts(len(sizes), size, owner, enough=enough, draws=draws, rng=rng)
    points = [point for curve in curves for point in curve.points]
    logs = np.empty((draws, len(points)))
    for i, point in enumerate(points):
        losses = np.array(point.losses)
        logs[:, i] = np.log(rng.choice(losses, (draws, len(losses))).mean(axis=1))
    return logs, counts[:, size].astype(float)


def _draw_counts(
    sizes: int,
    size: NDArray[np.int64],
    owner: NDArray[np.int64],
    *,
    enough: int,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    counts = np.zeros((draws, sizes), dtype=np.int64)
    missing = np.arange(draws)
    for _ in range(ATTEMPTS):
        counts[missing] = rng.multinomial(sizes, np.full(sizes, 1 / sizes), len(missing))
        there = counts[:, size] > 0
        kept = np.stack([there[:, owner == k].sum(axis=1) for k in range(owner.max() + 1)])
        missing = np.flatnonzero(kept.min(axis=0) < enough)
        if not len(missing):
            return counts
    raise ValueError(
        f"drawing sizes with replacement keeps fewer than {enough} sizes of some optimizer too "
        "often; use the bootstrap of residuals, or train more sizes"
    )
