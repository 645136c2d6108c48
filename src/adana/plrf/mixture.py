"""Mixtures of experts on the model: columns of parameters of which most samples touch one.

Rows of an embedding and experts see gradients only now and then, and the rarer ones are what the
Star optimizers' estimate tau of a coordinate's activity is for (spec/plrf.md section 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adana.checks import check_integer, check_range
from adana.plrf.adaptive import MakeOptimizer, recorded_risk
from adana.plrf.curve import SimulatedRisk
from adana.plrf.problem import DrawnProblem
from adana.plrf.simulation import Progress


@dataclass(frozen=True)
class MixtureRisk:
    """Risks of experts: `risk` has shape (methods, runs, experts, steps), NaN once not finite."""

    names: tuple[str, ...]
    steps: np.ndarray
    probabilities: np.ndarray
    risk: np.ndarray

    def total(self) -> SimulatedRisk:
        """Return the risk of the mixture, `sum_i p_i P_i`."""
        total = np.einsum("e,mret->mrt", self.probabilities, self.risk)
        return SimulatedRisk(self.names, self.steps, total)


def expert_probabilities(experts: int, exponent: float = 1.0) -> np.ndarray:
    """Return how often samples go to each expert: `i^-exponent` for i = 1..experts, of sum 1.

    Raises `ValueError` for fewer than one expert or an exponent below 0.
    """
    check_integer("experts", experts, low=1)
    check_range("exponent", exponent, low=0.0)
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def activity(probabilities: np.ndarray, batch: int) -> np.ndarray:
    """Return how often each expert has a gradient that is not zero, `1 - (1 - p)^batch`."""
    return -np.expm1(batch * np.log1p(-np.minimum(probabilities, 1 - 1e-16)))


def simulate_mixture(
    problem: DrawnProblem,
    optimizers: Mapping[str, MakeOptimizer],
    probabilities: np.ndarray,
    *,
    batch: float,
    total_steps: int,
    runs: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> MixtureRisk:
    """Train a mixture with each optimizer `runs` times, from `theta = 0`, on fresh mini-batches.

    All experts share the problem, so that only how often they see samples tells them apart. Each
    of the `batch` samples of a step goes to one expert by `probabilities` (shape (experts,), of
    sum 1: `expert_probabilities`, or `[1 - p, p]`), and all gradients are means over the whole
    batch. The parameter an optimizer gets has shape (runs, experts, d); otherwise as
    `adana.plrf.adaptive.simulate_adaptive`.
    """
    chances = check_probabilities(probabilities)
    steps, risk = recorded_risk(
        problem,
        optimizers,
        chances,
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        seed=seed,
        device=device,
        steps=steps,
        progress=progress,
    )
    return MixtureRisk(tuple(optimizers), steps, chances, risk)


def check_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities as a float64 array; `ValueError` unless positive and of sum 1."""
    chances = np.asarray(probabilities, dtype=np.float64)
    if chances.ndim != 1 or not (chances > 0).all() or abs(chances.sum() - 1) > 1e-9:
        raise ValueError(
            "probabilities must be one positive number for each expert, of sum 1, "
            f"got {probabilities!r}; expert_probabilities makes some"
        )
    return chances
