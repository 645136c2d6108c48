"""The least-squares problem under the loss laws, solved for many data sets at once.

All laws are one model of the log loss, with ``x = ln C`` centred on its mean ::

    log L = log(a + B exp(-(f + d) x) + E exp(-f x))        a, B, E >= 0,  f, d > 0

so the exponents are ordered by construction (``c = f + d > f``), and the single law is the same
with ``E = f = 0``. A parameter is shared by curves, free or held still through a table of indices
and a box. Bootstrap draws, starting points and the values of a profile are all just rows: one row
is one data set with one start, and the rows are polished together, by Levenberg-Marquardt steps
clipped to the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SATURATION, FIRST, GAP, SECOND, SLOW = range(5)
"""Columns of a curve's parameters: a, B, d, E, f."""

EXPONENTS = (1e-3, 4.0)
"""Box of `f` and `d`: below it a term is a constant, above it only the first size feels it."""

ROOM = 0.99
"""The saturation stays below this share of the lowest loss (spec/scaling_laws section 3)."""

CHUNK = 256
"""Rows polished together: the Jacobians of one chunk stay in the processor's cache."""


class Model(Protocol):
    """What `polish` needs: a log loss with its Jacobian, weights, and a box of parameters."""

    @property
    def weights(self) -> Floats:
        """Weight of each squared log residual, shape (points,)."""

    @property
    def lower(self) -> Floats:
        """Lower ends of the box, shape (parameters,)."""

    @property
    def upper(self) -> Floats:
        """Upper ends of the box."""

    @property
    def still(self) -> NDArray[np.bool_]:
        """Which parameters stay where they start."""

    def linearise(self, parameters: Floats) -> tuple[Floats, Floats]:
        """Return the log loss (rows, points) and its Jacobian (rows, points, parameters)."""


@dataclass(frozen=True)
class Problem:
    """What is fitted: the points of all curves, and which parameters they share.

    `index` (curves, 5) points into the parameter vector; `lower` and `upper` (parameters,) are its
    box; what is `still` stays where it starts.
    """

    x: Floats
    """Centred ln C of each point, shape (points,)."""
    curve: NDArray[np.int64]
    """The curve of each point, shape (points,)."""
    weights: Floats
    """Weight of each squared log residual, mean 1, shape (points,)."""
    index: NDArray[np.int64]
    lower: Floats
    upper: Floats
    still: NDArray[np.bool_]
    center: float
    """What was subtracted from ln C."""

    @property
    def free(self) -> int:
        """The number of parameters that can move."""
        return int(np.sum(~self.still))

    def holding(self, column: int) -> Problem:
        """Return the problem in which one kind of parameter stays where a row starts with it."""
        still = self.still.copy()
        still[self.index[:, column]] = True
        return replace(self, still=still)

    def predict(self, parameters: Floats) -> Floats:
        """Return the log loss at the points, shape (rows, points)."""
        return self.linearise(parameters)[0]

    def linearise(self, parameters: Floats) -> tuple[Floats, Floats]:
        """Return the log loss (rows, points) and its Jacobian (rows, points, parameters)."""
        own = parameters[:, self.index[self.curve]]
        a, first, gap, second, slow = np.moveaxis(own, -1, 0)
        fall = np.exp(-slow * self.x)
        steep = fall * np.exp(-gap * self.x)
        loss = np.maximum(a + first * steep + second * fall, np.finfo(float).tiny)
        slopes = (
            np.ones_like(loss),
            steep,
            -self.x * first * steep,
            fall,
            -self.x * (first * steep + second * fall),
        )
        jacobian = np.zeros((*loss.shape, parameters.shape[1]))
        points = np.arange(len(self.x))
        for column, slope in enumerate(slopes):
            jacobian[:, points, self.index[self.curve, column]] += slope / loss
        return np.log(loss), jacobian


def robust_cost(residuals: Floats, weights: Floats, delta: float) -> Floats:
    """Return Huber's cost per row: ``r^2`` up to `delta`, ``2 delta |r| - delta^2`` beyond."""
    size = np.abs(residuals)
    inner = np.minimum(size, delta)
    cost: Floats = np.sum(weights * inner * (2 * size - inner), axis=1)
    return cost


@dataclass(frozen=True)
class Solution:
    """Fitted parameters (rows, parameters) and the cost of each row."""

    parameters: Floats
    cost: Floats

    def best(self, starts: int) -> Solution:
        """Keep, of each `starts` consecutive rows, the one with the lowest cost."""
        cost = self.cost.reshape(-1, starts)
        rows = np.arange(len(cost)) * starts + np.argmin(cost, axis=1)
        return Solution(self.parameters[rows], self.cost[rows])


def polish(
    problem: Model,
    start: Floats,
    logs: Floats,
    *,
    delta: float = np.inf,
    multiplicity: Floats | None = None,
    steps: int = 200,
    tolerance: float = 1e-9,
) -> Solution:
    """Polish each row of `start` (rows, parameters) on its data `logs` (rows, points).

    `multiplicity` (rows, points) counts how often a point was drawn by a bootstrap, default once.
    A row is done when a step lowers its cost by less than `tolerance` of it.
    """
    weights = np.broadcast_to(problem.weights, logs.shape)
    if multiplicity is not None:
        weights = weights * multiplicity
    parts = [
        _polish(
            problem,
            start[rows],
            logs[rows],
            weights[rows],
            delta=delta,
            steps=steps,
            tolerance=tolerance,
        )
        for rows in (slice(i, i + CHUNK) for i in range(0, len(start), CHUNK))
    ]
    return Solution(
        np.concatenate([part.parameters for part in parts]),
        np.concatenate([part.cost for part in parts]),
    )


def _polish(
    problem: Model,
    start: Floats,
    logs: Floats,
    weights: Floats,
    *,
    delta: float,
    steps: int,
    tolerance: float,
) -> Solution:
    at = np.clip(start, problem.lower, problem.upper)
    predicted, jacobian = problem.linearise(at)
    cost = robust_cost(predicted - logs, weights, delta)
    damping = np.full(len(at), 1e-3)
    calm = np.zeros(len(at), dtype=int)
    active = np.arange(len(at))
    for _ in range(steps):
        residuals = predicted[active] - logs[active]
        size = np.abs(residuals)
        scale = np.where(size > delta, delta / np.maximum(size, 1e-300), 1.0)
        gain = jacobian[active] * (weights[active] * scale)[..., None]
        gradient = np.einsum("rnp,rn->rp", gain, residuals)
        curvature = np.matmul(gain.transpose(0, 2, 1), jacobian[active])
        step = _step(problem, at[active], gradient, curvature, damping[active])
        trial = np.clip(at[active] + step, problem.lower, problem.upper)
        new_predicted, new_jacobian = problem.linearise(trial)
        new_cost = robust_cost(new_predicted - logs[active], weights[active], delta)
        better = new_cost < cost[active]
        small = np.abs(cost[active] - new_cost) <= tolerance * cost[active] + 1e-24
        moved = active[better]
        at[moved], cost[moved] = trial[better], new_cost[better]
        predicted[moved], jacobian[moved] = new_predicted[better], new_jacobian[better]
        damping[active] = np.clip(damping[active] * np.where(better, 0.2, 8.0), 1e-12, 1e12)
        calm[active] = np.where(small, calm[active] + 1, 0)
        active = active[(calm[active] < 3) & (damping[active] < 1e12)]
        if not len(active):
            break
    return Solution(at, cost)


def _step(
    problem: Model, at: Floats, gradient: Floats, curvature: Floats, damping: Floats
) -> Floats:
    """Return a damped Gauss-Newton step; parameters pushed against their box stay."""
    stuck = ((at <= problem.lower) & (gradient >= 0)) | ((at >= problem.upper) & (gradient <= 0))
    stuck |= problem.still
    keep = ~stuck
    curvature = curvature * (keep[:, :, None] & keep[:, None, :])
    diagonal = np.einsum("rpp->rp", curvature)
    added = damping[:, None] * diagonal + 1e-14 * np.max(diagonal, axis=1, keepdims=True)
    rows = np.arange(at.shape[1])
    extra = np.where(stuck | (diagonal == 0), 1.0, added)
    curvature[:, rows, rows] += extra
    solved = np.linalg.solve(curvature, -(gradient * keep)[..., None])
    return np.asarray(solved[..., 0], dtype=np.float64)
