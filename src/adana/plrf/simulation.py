"""Runs of stochastic momentum methods on the model, many at once.

What the predictions of this package are compared with. Methods of this family do not care about
the basis, so the runs live in the eigenbasis: O(d) a step and run, whatever the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adana.checks import check_integer
from adana.plrf.curve import SimulatedRisk, log_steps
from adana.plrf.momentum import Momentum
from adana.plrf.problem import DrawnProblem
from adana.plrf.recursion import check_steps
from adana.plrf.sampler import Draws, gradient_weights, whitened_gradient
from adana.plrf.spectrum import Spectrum
from adana.plrf.threads import threads_for

CHUNK = 128
"""Steps whose schedules and chi-square numbers are computed together."""

Progress = Callable[[int], None]
"""Called with the number of steps done so far."""


def simulate(
    problem: DrawnProblem | Spectrum,
    methods: Sequence[Momentum],
    *,
    batch: float,
    total_steps: int,
    runs: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> SimulatedRisk:
    """Run every method `runs` times for `total_steps` steps of fresh mini-batches.

    Gradients have exactly the law of means over `batch` samples (spec/plrf.md section 1.2). All
    methods of a run see the same random numbers, so comparisons between methods are less noisy than
    their risks. Risks at small steps are heavy tailed for small batches: average thousands of runs
    there, or look at steps from 100 on (section 13.1).

    Args:
        problem: a drawn problem, or a spectrum whose `counts` are whole numbers. Signs of the
            starting distances do not matter to the law of the risk.
        methods: any number of them; step sizes, dampings and so on are swept by listing them.
        batch: samples per step, `math.inf` for exact gradients.
        total_steps: number of steps.
        runs: independent runs of each method.
        seed: of all random numbers; results are equal bit for bit on the same device type.
        device: where the runs take place, "cpu" or "cuda".
        steps: 0-based steps before which the risk is recorded, increasing, at most `total_steps`;
            `log_steps(total_steps)` by default.
        progress: called now and then with the number of steps done.

    Raises:
        ValueError: an argument is out of range, or a count is not whole.
    """
    check_counts(batch, total_steps, runs, methods)
    spectrum = problem.spectrum() if isinstance(problem, DrawnProblem) else problem
    recorded = recorded_steps(steps, total_steps)
    eigenvalues, errors = (torch.from_numpy(x).to(device) for x in _directions(spectrum))
    walk = _Walk(eigenvalues, errors, spectrum.twice_floor, len(methods), runs)
    draws = Draws(seed, device)
    excess = torch.empty(len(recorded), len(methods), runs, dtype=torch.float64, device=device)
    rows = {step: row for row, step in enumerate(recorded.tolist())}
    with threads_for(walk.scaled.numel()):
        for chunk in chunks(int(recorded[-1])):
            table = method_numbers(methods, np.arange(chunk.start, chunk.stop), device)
            samples = 1.0 if math.isinf(batch) else batch
            weights = gradient_weights(draws.chi_square(samples, (len(chunk), 1, runs)), batch)
            for t, numbers, *now in zip(chunk, table[..., None, None], *weights, strict=True):
                found = walk.step(draws, (now[0], now[1]), numbers)
                if t in rows:
                    excess[rows[t]] = found
            if progress is not None:
                progress(min(chunk.stop, total_steps))
    risk = finite_or_nan((excess.cpu().numpy() + spectrum.twice_floor) / 2).transpose(1, 2, 0)
    return SimulatedRisk(tuple(method.name for method in methods), recorded, risk)


class _Walk:
    """All runs: distances and buffers times `sqrt(eigenvalues)`, shape (methods, runs, d)."""

    def __init__(
        self, eigenvalues: Tensor, errors: Tensor, twice_floor: float, methods: int, runs: int
    ) -> None:
        self.eigenvalues = eigenvalues
        self.floor_root = float(np.sqrt(twice_floor))
        start = (eigenvalues * errors).sqrt()
        self.scaled = start.expand(methods, runs, -1).contiguous()
        self.buffer = torch.zeros_like(self.scaled)
        self.normal = torch.empty(runs, len(start), dtype=start.dtype, device=start.device)

    def step(self, draws: Draws, weights: tuple[Tensor, Tensor], numbers: Tensor) -> Tensor:
        """Take a step with its four `numbers`; return `2P - 2 P_inf` before it, (methods, runs)."""
        gradient, excess = whitened_gradient(
            self.scaled, draws.normal_(self.normal), weights, self.floor_root
        )
        gradient *= self.eigenvalues
        gamma1, gamma2, gamma3, keep = numbers
        self.buffer.mul_(keep).addcmul_(gradient, gamma1)
        self.scaled.addcmul_(gradient, gamma2, value=-1).addcmul_(self.buffer, gamma3, value=-1)
        return excess


def recorded_steps(steps: Sequence[int] | np.ndarray | None, total_steps: int) -> np.ndarray:
    """Return the steps to record, checked: whole, increasing, within 0 to `total_steps`."""
    if steps is None:
        return log_steps(total_steps)
    wanted = check_steps(steps)
    if wanted[-1] > total_steps:
        raise ValueError(f"steps go up to {wanted[-1]}, but total_steps is {total_steps}")
    return wanted


def check_counts(batch: float, total_steps: int, runs: int, competitors: Any) -> None:
    """Raise `ValueError` unless a simulation can have this batch, length and number of runs.

    And something to simulate: `competitors` are a list of methods or a mapping of optimizers.
    """
    if batch != math.inf:
        check_integer("batch (unless infinite)", batch, low=1)
    check_integer("total_steps", total_steps, low=1)
    check_integer("runs", runs, low=1)
    if isinstance(competitors, Momentum) or not competitors:
        raise ValueError(
            f"expected several methods or optimizers, at least one, got {competitors!r}"
        )


def chunks(last: int) -> Iterator[range]:
    """Yield the steps from 0 to `last` in ranges of `CHUNK`."""
    for first in range(0, last + 1, CHUNK):
        yield range(first, min(first + CHUNK, last + 1))


def finite_or_nan(risk: np.ndarray) -> np.ndarray:
    """Return risks, NaN where they are not finite."""
    return np.where(np.isfinite(risk), risk, np.nan)


def method_numbers(
    methods: Sequence[Momentum], steps: np.ndarray, device: torch.device | str
) -> Tensor:
    """Return gamma1, gamma2, gamma3 and `1 - forget` at some steps, shape (steps, 4, methods)."""
    table = np.empty((len(steps), 4, len(methods)))
    for i, method in enumerate(methods):
        at = method.at(steps)
        table[:, :, i] = np.stack([at.gamma1, at.gamma2, at.gamma3, 1 - at.forget], axis=1)
    return torch.from_numpy(table).to(device)


def _directions(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and errors with one entry for each direction."""
    counts = np.round(spectrum.counts).astype(np.int64)
    if not np.array_equal(counts, spectrum.counts):
        raise ValueError(
            "a simulation needs whole directions, but this spectrum has fractional counts, as "
            "those of deterministic_spectrum are; draw a problem: PLRF(alpha, beta, d).draw()"
        )
    return np.repeat(spectrum.eigenvalues, counts), np.repeat(spectrum.errors, counts)
