"""Do optimizers differ in the exponents of their Chinchilla laws, or only in efficiency?

Sharing exponents makes the fit well-conditioned, but a log-time optimizer claims another exponent,
and a fit that shares them cannot see it (spec/peers_harness section 2.5: offer both, test one
against the other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.chinchilla import HUBER, STARTS, Surface, new_residuals, pose, solve
from adana.laws.chinchilla_problem import ChinchillaProblem

Floats = NDArray[np.float64]

ALPHA = 0.05
"""Chance of calling equal exponents different, in the words of an answer."""


@dataclass(frozen=True)
class ExponentTest:
    """Shared exponents against free ones."""

    ratio: float
    """Cost with shared exponents over cost with free ones; at least 1."""
    p: float
    """Share of data sets with shared exponents that give at least this ratio."""
    draws: int

    def __str__(self) -> str:
        said = "have exponents of their own" if self.p < ALPHA else "may share their exponents"
        return f"the optimizers {said} (p = {self.p:.3g}, {self.draws} simulated data sets)"


def compare_exponents(
    surfaces: Sequence[Surface], *, huber: float = HUBER, draws: int = 300, seed: int = 0
) -> ExponentTest:
    """Test whether the optimizers need exponents of their own.

    The ratio of costs is compared with its distribution over data sets simulated from the fit with
    shared exponents and the residuals of the free one, so nothing is assumed of the noise but that
    it is the same everywhere.
    """
    if len(surfaces) < 2:
        raise ValueError("a comparison of exponents needs at least two optimizers")
    shared, logs = pose(surfaces, "shared")
    free, _ = pose(surfaces, "free")
    low = solve(shared, logs[None], huber, STARTS)
    high = solve(free, logs[None], huber, STARTS, also=_freed(shared, free, low.parameters)[0])
    residuals = logs - free.linearise(high.parameters)[0][0]
    rng = np.random.default_rng(seed)
    drawn = shared.linearise(low.parameters)[0] + new_residuals(free, residuals, draws, rng)
    down = solve(shared, drawn, huber, 1, also=low.parameters[0])
    up = solve(free, drawn, huber, 1, also=_freed(shared, free, down.parameters))
    tiny = np.finfo(float).tiny
    ratio = float(low.cost[0] / max(high.cost[0], tiny))
    simulated = down.cost / np.maximum(up.cost, tiny)
    return ExponentTest(ratio, float((1 + np.sum(simulated >= ratio)) / (1 + draws)), draws)


def _freed(shared: ChinchillaProblem, free: ChinchillaProblem, parameters: Floats) -> Floats:
    """Return the same laws as parameters of the problem with free exponents."""
    found = np.empty((len(parameters), free.free))
    found[:, free.index] = parameters[:, shared.index]
    return found
