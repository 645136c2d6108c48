"""What the Star optimizers' activity estimate tau becomes in a mixture of experts.

tau averages |g| / (|g| + sqrt(v)) with the log-time weights of v; the optimizers turn it into an
estimate of the probability that a coordinate's gradient is not zero (spec/plrf.md section 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import integrate

from adana.checks import check_integer
from adana.optim.update import TAU_CAP
from adana.plrf.adaptive import MakeOptimizer, trajectory
from adana.plrf.mixture import activity, check_probabilities
from adana.plrf.problem import DrawnProblem
from adana.plrf.simulation import Progress


@dataclass(frozen=True)
class TauStatistics:
    """The activity estimate of one run at some steps: `tau` has shape (steps, experts, d)."""

    steps: np.ndarray
    probabilities: np.ndarray
    batch: int
    tau: np.ndarray

    @property
    def regularised(self) -> np.ndarray:
        """What the optimizers use of tau, `max(x/(1-x), 1/(1+t))` with `x = min(tau, 1/2)`."""
        capped = np.minimum(self.tau, TAU_CAP)
        return np.maximum(capped / (1 - capped), 1 / (1 + self.steps[:, None, None]))

    @property
    def active(self) -> np.ndarray:
        """How often each expert has a gradient, shape (experts,)."""
        return activity(self.probabilities, self.batch)

    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """Return levels in (0, 1), shape (n,), and the regularised taus at them, (steps, n).

        The empirical distribution function averaged over experts, n = experts * d: as all experts
        have d coordinates, it is that of all taus together.
        """
        taus = np.sort(self.regularised.reshape(len(self.steps), -1), axis=1)
        return (np.arange(taus.shape[1]) + 0.5) / taus.shape[1], taus


def tau_statistics(
    problem: DrawnProblem,
    optimizer: MakeOptimizer,
    probabilities: np.ndarray,
    *,
    batch: int,
    steps: Sequence[int],
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> TauStatistics:
    """Train a mixture as `simulate_mixture` does, and return tau after each of `steps` steps.

    The paper's figure takes `steps = 1000 * 2^k`. Raises `ValueError` for an optimizer that keeps
    no tau, and for wrong arguments.
    """
    chances = check_probabilities(probabilities)
    check_integer("batch", batch, low=1)
    wanted = sorted(set(steps))
    if not wanted:
        raise ValueError("steps must name at least one step")
    check_integer("the first of steps", wanted[0], low=1)
    walk = trajectory(
        problem,
        {"": optimizer},
        probabilities=chances,
        batch=batch,
        total_steps=wanted[-1],
        runs=1,
        seed=seed,
        device=device,
        progress=progress,
    )
    found = []
    for t, learners in walk:
        if t in wanted:
            state = learners.optimizers[""].state[learners.params[0]]
            if "tau" not in state:
                name = type(learners.optimizers[""]).__name__
                raise ValueError(f"{name} estimates no tau; take DanaStar or DanaStarMK4")
            found.append(state["tau"][0].cpu().numpy().copy())
    return TauStatistics(np.array(wanted), chances, batch, np.stack(found))


def expected_tau(active: np.ndarray | float) -> np.ndarray:
    """Return what tau settles at where gradients are Gaussian and active with probability q.

    `q E[|xi| / (|xi| + sqrt(q))]` with xi standard normal: 0.385 for q = 1, about q for small q.
    Measured taus are 5 to 25 % below it, as sqrt(v) lags behind gradients that shrink. Source:
    spec/plrf.md section 10. A number or an array of them in [0, 1], and as many returned;
    `ValueError` for others.
    """
    q = np.asarray(active, dtype=np.float64)
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"active must be probabilities in [0, 1], got {active}")
    root = np.sqrt(q)

    def share(x: float) -> np.ndarray:
        density = np.sqrt(2 / np.pi) * np.exp(-x * x / 2)
        return density * x / np.maximum(x + root, 1e-300)

    return q * integrate.quad_vec(share, 0, 40, epsabs=1e-12, points=[1e-3, 1e-2, 0.1, 1, 5])[0]
