"""The least-squares problem under the Chinchilla form, for `joint_fit.polish`.

In the log-sum-exp parametrisation ::

    log L = log(exp(e) + exp(a - alpha n) + exp(b - beta d))     n = ln N, d = ln D, both centred

amplitudes are positive by construction, and the parameters have about the same scale. Starts come
from variable projection: over a grid of exponents, E, A and B in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ENTROPY, MODEL, DATA, ALPHA, BETA = range(5)
"""Columns of an optimizer's parameters: e, a, b, alpha, beta."""

EXPONENTS = (1e-3, 4.0)
"""Box of the exponents."""

SMALLEST = 1e-9
"""Smallest E, A N^-alpha and B D^-beta, as a share of the lowest loss: none, in practice."""

GRID = np.geomspace(0.03, 2.0, 12)
"""Exponents of the starts."""


@dataclass(frozen=True)
class ChinchillaProblem:
    """The runs of all optimizers, and which parameters they share.

    `index` (optimizers, 5) points into the parameter vector; `lower` and `upper` are its box.
    """

    n: Floats
    """Centred ln N of each run, shape (runs,)."""
    d: Floats
    owner: NDArray[np.int64]
    """The optimizer of each run."""
    index: NDArray[np.int64]
    lower: Floats
    upper: Floats
    centers: tuple[float, float]
    """What was subtracted from ln N and ln D."""

    @property
    def weights(self) -> Floats:
        """All runs weigh the same."""
        return np.ones_like(self.n)

    @property
    def still(self) -> NDArray[np.bool_]:
        """Every parameter moves."""
        return np.zeros(len(self.lower), dtype=bool)

    @property
    def free(self) -> int:
        """The number of parameters."""
        return len(self.lower)

    def linearise(self, parameters: Floats) -> tuple[Floats, Floats]:
        """Return the log loss (rows, runs) and its Jacobian (rows, runs, parameters)."""
        e, a, b, alpha, beta = np.moveaxis(parameters[:, self.index[self.owner]], -1, 0)
        terms = np.stack([e, a - alpha * self.n, b - beta * self.d])
        top = terms.max(axis=0)
        parts = np.exp(terms - top)
        total = parts.sum(axis=0)
        share = parts / total
        slopes = (share[0], share[1], share[2], -self.n * share[1], -self.d * share[2])
        jacobian = np.zeros((*total.shape, parameters.shape[1]))
        runs = np.arange(len(self.n))
        for column, slope in enumerate(slopes):
            jacobian[:, runs, self.index[self.owner, column]] += slope
        return top + np.log(total), jacobian

    def laws(self, parameters: Floats) -> Floats:
        """Return (E, A, B, alpha, beta) of each optimizer, shape (rows, optimizers, 5)."""
        e, a, b, alpha, beta = np.moveaxis(parameters[:, self.index], -1, 0)
        with np.errstate(over="ignore"):
            model = np.exp(a + alpha * self.centers[0])
            data = np.exp(b + beta * self.centers[1])
        return np.stack([np.exp(e), model, data, alpha, beta], axis=-1)


def build(
    parameters: Floats, tokens: Floats, owner: NDArray[np.int64], lowest: float, shared: set[int]
) -> ChinchillaProblem:
    """Return the problem; `shared` holds the columns that all optimizers have in common."""
    optimizers = int(owner.max()) + 1
    index = np.empty((optimizers, 5), dtype=np.int64)
    count = 0
    for column in range(5):
        width = 1 if column in shared else optimizers
        index[:, column] = count + np.arange(width)
        count += width
    lower, upper = np.empty(count), np.empty(count)
    ends = {
        ENTROPY: (np.log(SMALLEST * lowest), np.log(lowest)),
        MODEL: (np.log(SMALLEST * lowest), np.inf),
        DATA: (np.log(SMALLEST * lowest), np.inf),
        ALPHA: EXPONENTS,
        BETA: EXPONENTS,
    }
    for column, (low, high) in ends.items():
        lower[index[:, column]], upper[index[:, column]] = low, high
    n, d = np.log(parameters), np.log(tokens)
    centers = float(n.mean()), float(d.mean())
    return ChinchillaProblem(n - centers[0], d - centers[1], owner, index, lower, upper, centers)


def grid_starts(problem: ChinchillaProblem, logs: Floats, counts: Floats, keep: int) -> Floats:
    """Return the `keep` best starts of each row of `logs`, shape (rows * keep, parameters)."""
    alpha, beta = (axis.ravel() for axis in np.meshgrid(GRID, GRID, indexing="ij"))
    optimizers = len(problem.index)
    cost = np.empty((optimizers, len(logs), len(alpha)))
    linear = np.empty((optimizers, len(logs), len(alpha), 3))
    for k in range(optimizers):
        own = problem.owner == k
        cost[k], linear[k] = _project(
            problem.n[own], problem.d[own], np.exp(logs[:, own]), counts[:, own], (alpha, beta)
        )
    if optimizers > 1 and problem.index[0, ALPHA] == problem.index[1, ALPHA]:
        cost[:] = cost.sum(axis=0, keepdims=True)
    chosen = np.argsort(cost, axis=2)[:, :, :keep]
    start = np.empty((len(logs), keep, problem.free))
    rows = np.arange(len(logs))[:, None]
    for k in range(optimizers):
        found = np.log(np.maximum(linear[k][rows, chosen[k]], np.exp(problem.lower[0])))
        for column in range(3):
            start[:, :, problem.index[k, column]] = found[..., column]
        start[:, :, problem.index[k, ALPHA]] = alpha[chosen[k]]
        start[:, :, problem.index[k, BETA]] = beta[chosen[k]]
    return np.clip(start, problem.lower, problem.upper).reshape(len(logs) * keep, -1)


def _project(
    n: Floats, d: Floats, losses: Floats, counts: Floats, grid: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return cost (rows, nodes) and E, A, B (rows, nodes, 3) of one optimizer.

    Least squares of the relative residual, first free, then clipped to what is positive and scaled
    once: a start, not an answer.
    """
    alpha, beta = grid
    terms = np.stack(
        [np.ones((len(alpha), len(n))), np.exp(-np.outer(alpha, n)), np.exp(-np.outer(beta, d))]
    )
    weights = counts / losses**2
    gram = np.einsum("ign,jgn,rn->rgij", terms, terms, weights, optimize=True)
    right = np.einsum("ign,rn->rgi", terms, weights * losses, optimize=True)
    gram += 1e-10 * np.trace(gram, axis1=2, axis2=3)[..., None, None] * np.eye(3)
    found = np.maximum(np.linalg.solve(gram, right[..., None])[..., 0], 0)
    inner = np.einsum("rgi,rgij,rgj->rg", found, gram, found)
    along = np.einsum("rgi,rgi->rg", found, right)
    scale = along / np.maximum(inner, np.finfo(float).tiny)
    square = np.sum(weights * losses**2, axis=1)[:, None]
    return np.maximum(square - scale * along, 0), found * scale[..., None]
