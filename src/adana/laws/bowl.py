"""The bowl: final loss against learning rate, and where its lowest point is.

Near the best learning rate the loss is a parabola in the logarithm of the rate ::

    loss = L* + zeta ln^2(eta / eta*)

Farther away it is not: it rises more steeply towards high rates, where training diverges, than
towards low ones. So only points near the lowest are fitted, in order of their rates (the reference
takes neighbours in order of their *losses*: spec/reference_gaps.md section 7): its two neighbours
in the grid, and what else is within a factor `REACH` of it.

Where the grid does not enclose the minimum, or is flat, nothing is extrapolated: the answer is then
the lowest point itself, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.multiplier import pooled_variance

Floats = NDArray[np.float64]

REACH = 2.0
"""Points within this factor of the lowest one's rate are fitted, beyond its two neighbours. At the
curvatures known (0.01 to 0.02), a seed noise of 0.002 moves the optimum of three points a factor of
2 apart by 5 to 10 %; the skew of a wider window moves it by more."""

SAME_RATE = 1e-6
"""Rates whose logarithms differ by less are the same."""


@dataclass(frozen=True)
class Bowl:
    """The best learning rate of one optimizer at one size, and how sharp it is."""

    lr: float
    """eta*: the fitted optimum; the lowest point's rate where `convex` is False."""
    loss: float
    """L*, the loss there (nats a token)."""
    curvature: float
    """zeta: nats for a squared factor e in the learning rate; NaN where `convex` is False."""
    convex: bool
    """Whether a parabola was fitted whose minimum lies among its points."""
    edge: str
    """"lower" or "higher" if the lowest point is at that end of the grid, where better rates may
    lie beyond; else empty."""
    log_lr_se: float | None = None
    """Standard error of ln eta* for seed noise (0.1: 10 %); None without repeated seeds."""
    loss_se: float | None = None
    """Standard error of L* for seed noise; None without repeated seeds."""
    freedom: int = 0
    """Degrees of freedom of the seed noise behind the standard errors."""
    fitted: tuple[float, ...] = ()
    """The learning rates that the parabola goes through; empty where `convex` is False."""
    diverged: tuple[float, ...] = ()
    """Rates that were left out because a loss there is not finite."""
    note: str = ""
    """Why there is no parabola, in words; empty if there is one."""

    def __call__(self, lr: float) -> float:
        """Return the parabola's loss at a learning rate; NaN where there is no parabola."""
        return self.loss + self.curvature * math.log(lr / self.lr) ** 2

    def cost_of(self, factor: float) -> float:
        """Return what a learning rate of `factor` times the best costs, in nats a token."""
        return self.curvature * math.log(factor) ** 2


def fit_bowl(
    lrs: Sequence[float],
    losses: Sequence[float | Sequence[float]],
    *,
    what: str = "learning rate",
) -> Bowl:
    """Fit the parabola `loss = L* + zeta ln^2(lr / eta*)` near the lowest point of a grid.

    Args:
        lrs: peak learning rates, > 0, in any order. The same rate twice counts as another seed.
        losses: for each rate its final loss (nats a token), or its losses, one a seed, which give
            the standard errors. Where every rate has the same number, the i-th is taken to be of
            the same seed everywhere: same weights, same data, hence noise in common. NaN or
            infinity marks a diverged run: its rate is left out, and named in `diverged`.
        what: what `lrs` are, for messages, where they are values of another hyperparameter.

    Raises:
        ValueError: no rate is left, a rate is not positive, or the numbers do not match.
    """
    points, diverged = _points(lrs, losses, what)
    rates = np.array(sorted(points))
    seeds = [points[lr] for lr in rates]
    means = np.array([float(np.mean(own)) for own in seeds])
    lowest = int(np.argmin(means))
    edge = _edge(float(rates[lowest]), sorted((*rates.tolist(), *diverged)))
    for window in _windows(rates, lowest):
        x = np.log(rates[window] / rates[lowest])
        solve = np.linalg.pinv(np.vander(x, 3))  # (3, points): losses to (square, slope, constant)
        square, slope, constant = solve @ means[window]
        if square * np.ptp(x) ** 2 <= 1e-9 * abs(constant):
            continue
        x_best = -slope / (2 * square)
        if not x[0] <= x_best <= x[-1]:
            continue
        covariance, freedom = _noise([seeds[i] for i in range(len(rates))[window]], seeds)
        log_lr_se, loss_se = _standard_errors(solve, square, x_best, covariance)
        return Bowl(
            lr=float(rates[lowest] * math.exp(x_best)),
            loss=float(constant + slope * x_best / 2),
            curvature=float(square),
            convex=True,
            edge="",
            log_lr_se=log_lr_se,
            loss_se=loss_se,
            freedom=freedom,
            fitted=tuple(rates[window].tolist()),
            diverged=diverged,
        )
    variance, freedom = pooled_variance(seeds)
    return Bowl(
        lr=float(rates[lowest]),
        loss=float(means[lowest]),
        curvature=math.nan,
        convex=False,
        edge=edge,
        loss_se=math.sqrt(variance / len(seeds[lowest])) if freedom else None,
        freedom=freedom,
        diverged=diverged,
        note=_note(edge, len(rates), diverged, float(rates[lowest]), what),
    )


def fit_bowl_by_seed(
    lrs: Sequence[float],
    losses: Sequence[Mapping[int, float]],
    *,
    what: str = "learning rate",
) -> Bowl:
    """Fit as `fit_bowl` does to losses by seed: to the seeds that all rates have, if there are any.

    So a lucky seed moves all points alike. Rates with a loss that is not finite have diverged, and
    have no say in which seeds are shared.
    """
    usable = [set(own) for own in losses if all(map(math.isfinite, own.values()))]
    shared = set.intersection(*usable) if usable else set()
    chosen = []
    for own in losses:
        seeds = sorted(own)
        if shared and set(own) in usable:
            seeds = sorted(shared)
        chosen.append([own[seed] for seed in seeds])
    return fit_bowl(lrs, chosen, what=what)


def _points(
    lrs: Sequence[float], losses: Sequence[float | Sequence[float]], what: str
) -> tuple[dict[float, tuple[float, ...]], tuple[float, ...]]:
    """Return the losses by rate, repeated rates merged, and the rates that diverged."""
    if len(lrs) != len(losses):
        raise ValueError(f"one loss for each {what} is needed, got {len(lrs)} and {len(losses)}")
    points: dict[float, tuple[float, ...]] = {}
    for lr, loss in zip(lrs, losses, strict=True):
        if not (math.isfinite(lr) and lr > 0):
            raise ValueError(f"a {what} must be positive and finite, got {lr}")
        own = tuple(np.atleast_1d(np.asarray(loss, dtype=float)).tolist())
        if not own:
            raise ValueError(f"no loss is given for the {what} {lr:g}; leave it out")
        same = (known for known in points if abs(math.log(known / lr)) < SAME_RATE)
        rate = next(same, float(lr))
        points[rate] = points.get(rate, ()) + own
    diverged = tuple(sorted(lr for lr, own in points.items() if not all(map(math.isfinite, own))))
    if len(diverged) == len(points):
        given = ", ".join(f"{lr:g}" for lr in diverged) or "none"
        raise ValueError(f"no {what} has a finite loss (given: {given}); try lower values")
    return {lr: own for lr, own in points.items() if lr not in diverged}, diverged


def _windows(rates: Floats, lowest: int) -> list[slice]:
    """Return the points to fit, the preferred ones first; none if the lowest is at an end."""
    if not 0 < lowest < len(rates) - 1:
        return []
    narrow = slice(lowest - 1, lowest + 2)
    near = np.flatnonzero(np.abs(np.log(rates / rates[lowest])) <= math.log(REACH) + 1e-3)
    wide = slice(min(narrow.start, int(near[0])), max(narrow.stop, int(near[-1]) + 1))
    return [wide, narrow]


def _edge(lowest: float, grid: Sequence[float]) -> str:
    if len(grid) == 1:
        return ""
    return {grid[0]: "lower", grid[-1]: "higher"}.get(lowest, "")


def _noise(
    window: Sequence[tuple[float, ...]], seeds: Sequence[tuple[float, ...]]
) -> tuple[Floats | None, int]:
    """Return the covariance of the window's mean losses, and its degrees of freedom.

    Where all rates have the same seeds, the part of the noise that a seed brings to every rate
    alike is told from the rest (analysis of variance with two factors): it moves L*, but not eta*.
    """
    counts = {len(own) for own in seeds}
    if counts == {1}:
        return None, 0
    if len(counts) == 1 and len(seeds) > 1:
        table = np.array(seeds)
        k, n = table.shape
        by_seed = table.mean(axis=0) - table.mean()
        rest = table - table.mean(axis=1, keepdims=True) - by_seed
        own = float(np.sum(rest**2)) / ((k - 1) * (n - 1))
        common = max(0.0, float(np.sum(by_seed**2)) / (n - 1) - own / k)
        size = len(window)
        return (own * np.eye(size) + common * np.ones((size, size))) / n, (k - 1) * (n - 1)
    variance, freedom = pooled_variance(seeds)
    return np.diag([variance / len(own) for own in window]), freedom


def _standard_errors(
    solve: Floats, square: float, x_best: float, covariance: Floats | None
) -> tuple[float | None, float | None]:
    """Return the standard errors of the vertex by the delta method: of ln eta*, and of L*."""
    if covariance is None:
        return None, None
    of_coefficients = solve @ covariance @ solve.T
    to_x = np.array([-x_best / square, -1 / (2 * square), 0.0])
    to_loss = np.array([x_best**2, x_best, 1.0])
    both = [float(to @ of_coefficients @ to) for to in (to_x, to_loss)]
    return math.sqrt(max(both[0], 0.0)), math.sqrt(max(both[1], 0.0))


def _note(edge: str, points: int, diverged: Sequence[float], lowest: float, what: str) -> str:
    if edge:
        return f"the lowest point is at the grid's {edge} end: try {edge} values of {what}"
    if points < 3:
        near = f"; {', '.join(f'{lr:g}' for lr in diverged)} diverged" if diverged else ""
        return f"a parabola needs three values with a finite loss, there are {points}{near}"
    if diverged and (min(diverged) > lowest or max(diverged) < lowest):
        return "the lowest point is next to values that diverged: try some in between"
    return "the losses around the lowest point are flat: no parabola"
