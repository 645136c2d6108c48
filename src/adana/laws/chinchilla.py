"""The two-variable loss law of runs at many model sizes and token counts.

``L(N, D) = E + A N^-alpha + B D^-beta``, fitted as its best replication does it: the log of L is a
log-sum-exp of three linear functions, residuals are logs under Huber's cost with its corner at
1e-3, and the starts are many. Here they are a grid of exponents, each with the best E, A and B by
non-negative least squares; the best few are polished to convergence, since a loose tolerance is
what once made such intervals far too tight (spec/peers_harness section 2.5). Bootstrap draws start
where the data themselves ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares, nnls
from scipy.special import logsumexp

Floats = NDArray[np.float64]

HUBER = 1e-3
"""Corner of Huber's cost on log residuals."""

GRID = np.linspace(0.05, 1.2, 12)
"""Exponents tried for N, and for D."""

POLISHED = 6
"""Grid nodes from which the fit is polished."""

TOLERANCE = 1e-12

LOWEST = -50.0
"""Smallest logarithm of E, A and B: nothing, in practice."""

NAMES = ("E", "A", "alpha", "B", "beta")


@dataclass(frozen=True)
class ChinchillaLaw:
    """``L(N, D) = E + A N^-alpha + B D^-beta``, nats a token."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def __call__(self, parameters: Floats, tokens: Floats) -> Floats:
        """Return the loss at `parameters` and `tokens`, arrays of one shape."""
        return self.E + self.A * parameters**-self.alpha + self.B * tokens**-self.beta

    @property
    def parameter_exponent(self) -> float:
        """The power of C by which the best model size grows, ``beta / (alpha + beta)``."""
        return self.beta / (self.alpha + self.beta)


@dataclass(frozen=True)
class ChinchillaFit:
    """The law, and bootstrap draws of (E, A, alpha, B, beta) with shape (draws, 5)."""

    law: ChinchillaLaw
    replicates: Floats
    rms: float
    """Root mean square of the log residuals."""
    statements: tuple[str, ...]

    def interval(self, level: float = 0.9) -> Floats:
        """Return the intervals of (E, A, alpha, B, beta), shape (5, 2); NaN without draws."""
        if not len(self.replicates):
            return np.full((5, 2), np.nan)
        tails = (1 - level) / 2, (1 + level) / 2
        return np.quantile(self.replicates, tails, axis=0).T


def fit_chinchilla(
    parameters: ArrayLike,
    tokens: ArrayLike,
    losses: ArrayLike,
    *,
    bootstrap: int = 200,
    seed: int = 0,
) -> ChinchillaFit:
    """Fit the law to runs, one entry each: model size, tokens and final loss.

    The bootstrap draws runs with replacement. Raises `ValueError` where the shapes differ, a value
    is not positive, or there are fewer than six runs, two sizes or two token counts.
    """
    data = np.array([parameters, tokens, losses], dtype=float)
    _check(data)
    centers = np.log(data[:2]).mean(axis=1, keepdims=True)
    x, y = np.log(data[:2]) - centers, np.log(data[2])
    found = _fit(x, y, _grid_starts(x, y)[:POLISHED])
    rng = np.random.default_rng(seed)
    draws = np.empty((0, 5))
    if bootstrap:
        draws = np.array([_fit(x, y, [found], rows) for rows in _draws(data, bootstrap, rng)])
    law = ChinchillaLaw(*map(float, _natural(found[None], centers)[0]))
    rms = float(np.sqrt(np.mean((_model(found, x) - y) ** 2)))
    replicates = _natural(draws, centers)
    return ChinchillaFit(law, replicates, rms, _statements(replicates))


def _check(data: Floats) -> None:
    if data.ndim != 2 or data.shape[1] < 6:
        raise ValueError(
            f"the law has five parameters and needs at least six runs, got shape {data.shape[1:]}"
        )
    if not (np.isfinite(data).all() and (data > 0).all()):
        raise ValueError("model sizes, tokens and losses are positive and finite; leave others out")
    for what, row in zip(("model sizes", "token counts"), data[:2], strict=True):
        if len(np.unique(row)) < 2:
            raise ValueError(f"the runs have one value of {what}; the law needs several")


def _model(at: Floats, x: Floats) -> Floats:
    """Return the log loss at (log E, log A, alpha, log B, beta) of centred log N and log D."""
    e, a, alpha, b, beta = at
    terms = [np.full(x.shape[1], e), a - alpha * x[0], b - beta * x[1]]
    total: Floats = logsumexp(terms, axis=0)
    return total


def _grid_starts(x: Floats, y: Floats) -> list[Floats]:
    """Return starts at every pair of exponents, best first."""
    loss, found = np.exp(y), []
    for alpha in GRID:
        for beta in GRID:
            terms = np.stack([np.ones_like(y), np.exp(-alpha * x[0]), np.exp(-beta * x[1])], axis=1)
            amplitudes, miss = nnls(terms / loss[:, None], np.ones_like(y))
            e, a, b = np.log(np.maximum(amplitudes, 1e-6))
            found.append((miss, np.array([e, a, alpha, b, beta])))
    return [start for _, start in sorted(found, key=lambda pair: pair[0])]


def _fit(
    x: Floats, y: Floats, starts: Sequence[Floats], rows: NDArray[np.int64] | None = None
) -> Floats:
    """Return the best polished start on the chosen `rows`, all by default."""
    x, y = (x, y) if rows is None else (x[:, rows], y[rows])

    def residuals(at: Floats) -> Floats:
        return _model(at, x) - y

    def slopes(at: Floats) -> Floats:
        e, a, alpha, b, beta = at
        total = _model(at, x)
        share_n, share_d = np.exp(a - alpha * x[0] - total), np.exp(b - beta * x[1] - total)
        return np.stack(
            [np.exp(e - total), share_n, -x[0] * share_n, share_d, -x[1] * share_d], axis=1
        )

    box = ([LOWEST, LOWEST, 0.0, LOWEST, 0.0], [LOWEST * -1, LOWEST * -1, 4.0, LOWEST * -1, 4.0])
    fits = [
        least_squares(
            residuals,
            start,
            jac=slopes,
            bounds=box,
            loss="huber",
            f_scale=HUBER,
            x_scale="jac",
            xtol=TOLERANCE,
            ftol=TOLERANCE,
            gtol=TOLERANCE,
            max_nfev=500,
        )
        for start in starts
    ]
    return np.asarray(min(fits, key=lambda fit: fit.cost).x)


def _draws(data: Floats, draws: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return rows drawn with replacement, each with two sizes and two token counts."""
    kept: list[NDArray[np.int64]] = []
    while len(kept) < draws:
        rows: NDArray[np.int64] = rng.integers(data.shape[1], size=(data.shape[1],))
        if all(len(np.unique(row[rows])) > 1 for row in data[:2]):
            kept.append(rows)
    return kept


def _natural(found: Floats, centers: Floats) -> Floats:
    """Return (E, A, alpha, B, beta) of N and D themselves."""
    e, a, alpha, b, beta = found.T
    n, d = centers[:, 0]
    return np.stack([np.exp(e), np.exp(a + alpha * n), alpha, np.exp(b + beta * d), beta], axis=1)


def _statements(replicates: Floats) -> tuple[str, ...]:
    if not len(replicates):
        return ("no intervals: no bootstrap draws",)
    said = []
    low, high = np.quantile(replicates, [0.05, 0.95], axis=0)
    for name, one, other in zip(NAMES, low, high, strict=True):
        if name in ("E", "alpha", "beta") and (one <= 0 or other / one > 2):
            said.append(f"{name} is not identified: 90 % interval {one:.3g} to {other:.3g}")
    share = replicates[:, 4] / (replicates[:, 2] + replicates[:, 4])
    ends = np.quantile(share, [0.05, 0.95])
    said.append(
        f"the best model size grows like C^({np.median(share):.3g}), 90 % interval "
        f"{ends[0]:.3g} to {ends[1]:.3g}"
    )
    return tuple(said)
