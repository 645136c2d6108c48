"""The library's own optimizers, and torch's, on the model: what no recursion describes exactly.

Adaptive methods look at single coordinates of the parameters, so these runs take place in those
coordinates and not in the eigenbasis: O(d^2) a step and run. The optimizers are the objects that
train language models; nothing of them is written a second time here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from adana.plrf.curve import SimulatedRisk
from adana.plrf.problem import DrawnProblem
from adana.plrf.sampler import Draws, gradient_weights, whitened_gradient
from adana.plrf.simulation import (
    Progress,
    check_counts,
    chunks,
    finite_or_nan,
    recorded_steps,
)
from adana.plrf.threads import threads_for

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer of one parameter, as `lambda ps: adana.ADana(ps, lr=1e-3, omega=0.0)`."""


def simulate_adaptive(
    problem: DrawnProblem,
    optimizers: Mapping[str, MakeOptimizer],
    *,
    batch: float,
    total_steps: int,
    runs: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> SimulatedRisk:
    """Train with each optimizer `runs` times, from `theta = 0`, on fresh mini-batches.

    An optimizer owns one float64 parameter of shape (runs, 1, d): it must treat coordinates one by
    one, as Adam and everything in `adana.optim` but `LogMuon` do. Learning rates stay as made;
    switch weight decay off (`omega=0`) to compare with the theory. Everything else is as in
    `adana.plrf.simulation`, errors included: gradients of the same law, and the same random numbers
    for all optimizers.

    Step t of the result is before the optimizer's step of index t + 1: `adana.optim` counts from 1.
    """
    steps, risk = recorded_risk(
        problem,
        optimizers,
        np.ones(1),
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        seed=seed,
        device=device,
        steps=steps,
        progress=progress,
    )
    return SimulatedRisk(tuple(optimizers), steps, risk[:, :, 0])


class Learners:
    """Optimizers with their parameters, each of shape (runs, experts, d), and their gradients."""

    def __init__(
        self,
        problem: DrawnProblem,
        optimizers: Mapping[str, MakeOptimizer],
        runs: int,
        experts: int,
        device: torch.device | str,
    ) -> None:
        basis = problem.basis * np.sqrt(problem.eigenvalues)
        self.basis = torch.from_numpy(basis).to(device)
        self.best = torch.from_numpy(problem.optimum @ basis).to(device)
        self.twice_floor = problem.twice_floor
        shape = (len(optimizers), runs, experts, len(problem.optimum))
        self.theta = torch.zeros(shape, dtype=torch.float64, device=device)
        self.gradient = torch.zeros_like(self.theta)
        self.params = [nn.Parameter(theta) for theta in self.theta]
        for p, gradient in zip(self.params, self.gradient, strict=True):
            p.grad = gradient
        self.optimizers = {
            name: make([p]) for (name, make), p in zip(optimizers.items(), self.params, strict=True)
        }

    def draw(self, draws: Draws, weights: tuple[Tensor, Tensor]) -> None:
        """Draw the gradients at the present parameters: zero for experts without samples."""
        active = weights[0].any(dim=0).nonzero()[:, 0]
        now = tuple(weight[:, active] for weight in weights)
        scaled = torch.matmul(self.theta[:, :, active], self.basis).sub_(self.best)
        normal = draws.normal_(torch.empty_like(scaled[0]))
        whitened = whitened_gradient(scaled, normal, (now[0], now[1]), math.sqrt(self.twice_floor))[
            0
        ]
        self.gradient.zero_()
        self.gradient[:, :, active] = torch.matmul(whitened, self.basis.T)

    def step(self) -> None:
        """Take a step with every optimizer."""
        for optimizer in self.optimizers.values():
            optimizer.step()

    def risk(self) -> np.ndarray:
        """Return the risk P of the present parameters, (optimizers, runs, experts)."""
        scaled = torch.matmul(self.theta, self.basis).sub_(self.best)
        excess = torch.linalg.vecdot(scaled, scaled).cpu().numpy()
        return finite_or_nan((excess + self.twice_floor) / 2)


def recorded_risk(
    problem: DrawnProblem,
    optimizers: Mapping[str, MakeOptimizer],
    probabilities: np.ndarray,
    *,
    batch: float,
    total_steps: int,
    runs: int,
    seed: int,
    device: torch.device | str,
    steps: Sequence[int] | np.ndarray | None,
    progress: Progress | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps recorded, and P before each: (optimizers, runs, experts, steps)."""
    check_counts(batch, total_steps, runs, optimizers)
    recorded = recorded_steps(steps, total_steps)
    risk = np.empty((len(optimizers), runs, len(probabilities), len(recorded)))
    walk = trajectory(
        problem,
        optimizers,
        probabilities=probabilities,
        batch=batch,
        total_steps=int(recorded[-1]),
        runs=runs,
        seed=seed,
        device=device,
        progress=progress,
    )
    rows = {step: row for row, step in enumerate(recorded.tolist())}
    for t, learners in walk:
        if t in rows:
            risk[..., rows[t]] = learners.risk()
    return recorded, risk


def trajectory(
    problem: DrawnProblem,
    optimizers: Mapping[str, MakeOptimizer],
    *,
    probabilities: np.ndarray,
    batch: float,
    total_steps: int,
    runs: int,
    seed: int,
    device: torch.device | str,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Learners]]:
    """Yield each step from 0 to `total_steps` with the learners before it, gradients drawn.

    Each of `batch` samples goes to one expert by `probabilities`, and the gradients of all experts
    are divided by the whole batch (spec/plrf.md section 10).
    """
    experts = len(probabilities)
    learners = Learners(problem, optimizers, runs, experts, device)
    draws = Draws(seed, device)
    with threads_for(learners.theta.numel()):
        for chunk in chunks(total_steps):
            weights = _weights(draws, probabilities, batch, (len(chunk), runs))
            for t, *now in zip(chunk, *weights, strict=True):
                learners.draw(draws, (now[0], now[1]))
                yield t, learners
                learners.step()
            if progress is not None:
                progress(min(chunk.stop, total_steps))


def _weights(
    draws: Draws, probabilities: np.ndarray, batch: float, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the weights of the gradients' parts, each (steps, runs, experts)."""
    if math.isinf(batch):
        mean = torch.from_numpy(probabilities).to(draws.device).expand(*shape, -1)
        return mean, torch.zeros_like(mean)
    samples = draws.counts(int(batch), probabilities, shape)
    return gradient_weights(draws.chi_square(samples, samples.shape), batch)
