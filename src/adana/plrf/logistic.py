"""Many classes on power-law random features: softmax regression, with frequencies of a power law.

No theory describes it exactly; it is the model's nearest relative of predicting words. Class i of m
has frequency proportional to `i^-zeta`; hidden inputs of a class are Gaussian around its mean,
features their projection by the W of the regression problem (spec/plrf.md section 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adana.checks import check_integer, check_range
from adana.plrf.adaptive import MakeOptimizer
from adana.plrf.curve import SimulatedRisk
from adana.plrf.mixture import expert_probabilities
from adana.plrf.problem import PLRF
from adana.plrf.sampler import Draws
from adana.plrf.simulation import Progress, check_counts, finite_or_nan, recorded_steps
from adana.plrf.threads import threads_for


@dataclass(frozen=True, eq=False)
class LogisticProblem:
    """Classes in feature space, all float64.

    A sample is a class c, drawn with `frequencies` (m,), and features `means[c] + g @ noise` with g
    standard normal (d,); `means` is (m, d) and `noise` (d, d), symmetric or not.
    """

    frequencies: np.ndarray
    means: np.ndarray
    noise: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The weights of the best softmax regression, (d + 1, m), biases last.

        Gaussian classes of one covariance K have the log posteriors `x K^-1 mu_c + log f_c -
        mu_c K^-1 mu_c/2` up to a constant, so nothing does better than these weights.
        """
        directions = np.linalg.solve(self.noise.T @ self.noise, self.means.T)
        quadratic = np.einsum("md,dm->m", self.means, directions)
        return np.vstack([directions, np.log(self.frequencies) - quadratic / 2])


def logistic_problem(
    alpha: float,
    beta: float,
    dimension: int,
    classes: int,
    *,
    hidden: int | None = None,
    exponent: float = 1.0,
    signal: float = 1.0,
    seed: int = 0,
) -> LogisticProblem:
    """Draw W and the means of the classes.

    Args:
        alpha: hidden input j has noise of variance `j^(-2 alpha)` around its class's mean.
        beta: means of hidden input j have variance `signal j^(-2 beta)`.
        dimension: number of features d.
        classes: number of classes m.
        hidden: number of hidden inputs v, `4 dimension` by default.
        exponent: zeta; frequencies are `i^-zeta`, of sum 1.
        signal: the signal-to-noise ratio.
        seed: of W and the means.

    Raises:
        ValueError: an argument is out of range.
    """
    check_integer("classes", classes, low=2)
    check_range("signal", signal, low=0.0)
    model = PLRF(alpha, beta, dimension, hidden, seed)
    drawn = model.draw()
    j = np.arange(1, model.hidden_inputs + 1, dtype=np.float64)
    rng = np.random.default_rng([seed, 1])  # W has the stream of the seed alone
    means = np.sqrt(signal) * j**-beta * rng.standard_normal((classes, j.size))
    return LogisticProblem(
        expert_probabilities(classes, exponent),
        means @ (drawn.features * j[:, None] ** alpha),
        np.sqrt(drawn.eigenvalues)[:, None] * drawn.basis.T,
    )


def simulate_logistic(
    problem: LogisticProblem,
    optimizers: Mapping[str, MakeOptimizer],
    *,
    batch: int,
    total_steps: int,
    runs: int = 1,
    evaluation: int = 4096,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> SimulatedRisk:
    """Train softmax regression with each optimizer, from zero weights and log-frequency biases.

    Risks are cross-entropies in nats on one fixed sample of `evaluation` points, the same for all
    calls with this seed: subtract `evaluation_risk(problem, problem.best, ...)` for what is left to
    learn. A parameter has shape (runs, d + 1, m), biases last; otherwise as
    `adana.plrf.adaptive.simulate_adaptive`.
    """
    check_counts(batch, total_steps, runs, optimizers)
    check_range("batch", batch, low=1.0)
    recorded = recorded_steps(steps, total_steps)
    start = torch.zeros(runs, problem.noise.shape[0] + 1, len(problem.frequencies), device=device)
    start = start.to(torch.float64)
    start[:, -1] = torch.from_numpy(np.log(problem.frequencies)).to(device)
    theta = start.expand(len(optimizers), *start.shape).contiguous()
    params = [nn.Parameter(weights) for weights in theta]
    made = [make([p]) for make, p in zip(optimizers.values(), params, strict=True)]
    samples = _Samples(problem, Draws(seed, device))
    fixed = _evaluation(problem, evaluation, seed, device)
    risk = np.empty((len(optimizers), runs, len(recorded)))
    rows = {step: row for row, step in enumerate(recorded.tolist())}
    with threads_for(theta.numel()):
        for t in range(int(recorded[-1]) + 1):
            if t in rows:
                risk[:, :, rows[t]] = finite_or_nan(_cross_entropy(theta, *fixed).cpu().numpy())
                if progress is not None:
                    progress(t)
            features, labels = samples.draw(runs, batch)
            gradient = torch.softmax(features @ theta, dim=-1)
            gradient.sub_(nn.functional.one_hot(labels, len(problem.frequencies)))
            gradient = features.transpose(1, 2) @ gradient / batch
            for p, g, optimizer in zip(params, gradient, made, strict=True):
                p.grad = g
                optimizer.step()
    return SimulatedRisk(tuple(optimizers), recorded, risk)


def evaluation_risk(
    problem: LogisticProblem, weights: np.ndarray, *, evaluation: int = 4096, seed: int = 0
) -> float:
    """Return the cross-entropy of weights (d + 1, m) on the sample of `simulate_logistic`."""
    fixed = _evaluation(problem, evaluation, seed, "cpu")
    return float(_cross_entropy(torch.from_numpy(weights), *fixed))


def _evaluation(
    problem: LogisticProblem, points: int, seed: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return features (points, d + 1) and labels (points,): the same on every device."""
    check_integer("evaluation", points, low=1)
    features, labels = _Samples(problem, Draws([seed, 1], "cpu")).draw(1, points)
    return features[0].to(device), labels[0].to(device)


class _Samples:
    """Draws features, with a constant 1 appended for the biases, and labels."""

    def __init__(self, problem: LogisticProblem, draws: Draws) -> None:
        self.draws = draws
        self.means = torch.from_numpy(problem.means).to(draws.device)
        self.noise = torch.from_numpy(problem.noise).to(draws.device)
        self.frequencies = problem.frequencies

    def draw(self, runs: int, batch: int) -> tuple[Tensor, Tensor]:
        """Return features (runs, batch, d + 1) and labels (runs, batch)."""
        labels = self.draws.kinds(self.frequencies, (runs, batch))
        normal = self.means.new_empty(runs, batch, self.noise.shape[0])
        inputs = self.means[labels] + self.draws.normal_(normal) @ self.noise
        return nn.functional.pad(inputs, (0, 1), value=1.0), labels


def _cross_entropy(weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """Return mean cross-entropies, shape (...), of weights (..., d + 1, m)."""
    logits = features @ weights
    right = logits.gather(-1, labels.expand(logits.shape[:-1]).unsqueeze(-1))[..., 0]
    return (logits.logsumexp(-1) - right).mean(-1)
