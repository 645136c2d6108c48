"""Mini-batches of the model as defined: hidden inputs, features, targets, noisy labels.

Slow, O(batch v d) a step and run: the check of everything that draws no hidden inputs, and the
only way to see noise of labels that is not Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adana.checks import check_range
from adana.plrf.curve import SimulatedRisk
from adana.plrf.momentum import Momentum
from adana.plrf.problem import DrawnProblem
from adana.plrf.sampler import Draws
from adana.plrf.simulation import (
    Progress,
    check_counts,
    chunks,
    finite_or_nan,
    method_numbers,
    recorded_steps,
)
from adana.plrf.threads import threads_for


def simulate_direct(
    problem: DrawnProblem,
    methods: Sequence[Momentum],
    *,
    batch: int,
    total_steps: int,
    runs: int = 1,
    noise: float = 0.0,
    noise_dof: float = math.inf,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> SimulatedRisk:
    """Run every method `runs` times on batches drawn from the definition of the model.

    All methods of a run see the same batches. The risk returned is that of clean labels, so that
    its floor is the problem's. Memory: `runs * batch * v` numbers.

    Args:
        problem: what `PLRF(...).draw()` returns.
        methods, batch, total_steps, runs, seed, device, steps, progress: as for
            `adana.plrf.simulation.simulate`; batches are finite here.
        noise: the sigma of `y + sigma xi`, the noise of the labels.
        noise_dof: degrees of freedom of xi, a Student-t; infinite for a Gaussian. The robustness
            figures take 3, whose variance is 3 (spec/plrf.md section 1.1).

    Raises:
        ValueError: an argument is out of range.
    """
    check_counts(batch, total_steps, runs, methods)
    check_range("batch", batch, low=1.0)
    check_range("noise", noise, low=0.0)
    check_range("noise_dof", noise_dof, low=0.0, low_open=True, finite=False)
    recorded = recorded_steps(steps, total_steps)
    batches = _Batches(problem, runs, batch, (noise, noise_dof), Draws(seed, device))
    theta = torch.zeros(
        runs, problem.optimum.size, len(methods), dtype=torch.float64, device=device
    )
    buffer = torch.zeros_like(theta)
    risk = np.empty((len(methods), runs, len(recorded)))
    rows = {step: row for row, step in enumerate(recorded.tolist())}
    with threads_for(batches.hidden.numel()):
        for chunk in chunks(int(recorded[-1])):
            table = method_numbers(methods, np.arange(chunk.start, chunk.stop), device)
            for t, (gamma1, gamma2, gamma3, keep) in zip(chunk, table, strict=True):
                if t in rows:
                    with np.errstate(over="ignore", invalid="ignore"):
                        found = problem.risk(theta.permute(2, 0, 1).cpu().numpy())
                    risk[:, :, rows[t]] = finite_or_nan(found)
                gradient = batches.gradient(theta)
                buffer.mul_(keep).addcmul_(gradient, gamma1)
                theta.addcmul_(gradient, gamma2, value=-1).addcmul_(buffer, gamma3, value=-1)
            if progress is not None:
                progress(min(chunk.stop, total_steps))
    return SimulatedRisk(tuple(method.name for method in methods), recorded, risk)


class _Batches:
    """Draws a batch for each run and gives the mean gradient at some parameters."""

    def __init__(
        self,
        problem: DrawnProblem,
        runs: int,
        batch: int,
        noise: tuple[float, float],
        draws: Draws,
    ) -> None:
        features = np.column_stack([problem.features, problem.targets])
        self.features = torch.from_numpy(features).to(draws.device)
        self.noise, self.noise_dof = noise
        self.draws = draws
        self.hidden = torch.empty(
            runs, batch, len(features), dtype=torch.float64, device=draws.device
        )
        self.label_noise = torch.empty(runs, batch, dtype=torch.float64, device=draws.device)

    def gradient(self, theta: Tensor) -> Tensor:
        """Return the gradients at `theta` (runs, d, methods) of a fresh batch for each run."""
        drawn = self.draws.normal_(self.hidden) @ self.features
        features, targets = drawn[..., :-1], drawn[..., -1]
        if self.noise > 0:
            targets = targets + self.noise * self._student()
        residual = torch.matmul(features, theta) - targets.unsqueeze(-1)
        return torch.matmul(features.transpose(1, 2), residual) / features.shape[1]

    def _student(self) -> Tensor:
        """Return noise of shape (runs, batch): normal numbers, over chi ones for a Student-t."""
        normal = self.draws.normal_(self.label_noise)
        if math.isinf(self.noise_dof):
            return normal
        chi_square = self.draws.chi_square(self.noise_dof, tuple(normal.shape))
        return normal / (chi_square / self.noise_dof).sqrt()
