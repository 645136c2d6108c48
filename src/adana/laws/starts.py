"""Starting points for the loss laws: variable projection over a grid.

Given the saturation and the exponents, the law is linear in its amplitudes. So a grid over
(a, f, d) with the best ``B, E >= 0`` in closed form at each node sees the whole landscape, where
an optimizer that starts at one guess sees a valley floor (spec/scaling_laws section 3: the
reference's saturation ends where it began). Residuals are ``(L_hat - L) / L``, the log residual to
first order; the polish that follows uses the log residual itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adana.laws.joint_fit import FIRST, GAP, ROOM, SATURATION, SECOND, SLOW, Problem

Floats = NDArray[np.float64]

SATURATIONS = 14
"""Grid values of the saturation, from 0 to `ROOM` of the lowest loss."""

Grid = tuple[Floats, Floats]
"""Pairs (f, d) of exponents, and the saturations of each row."""

ROWS = 128
"""Data sets whose grids are held in memory at a time."""


def grid_starts(
    problem: Problem,
    logs: Floats,
    *,
    shared_exponents: bool,
    keep: int,
    multiplicity: Floats,
    saturations: Floats | None = None,
) -> Floats:
    """Return `keep` starts for each row of `logs`, best first, shape (rows * keep, parameters).

    `saturations` (rows, values) replaces the grid's own values of `a`.
    Consecutive rows of the answer belong to the same data set; where there are fewer than `keep`
    values the last start is repeated.
    """
    values = _saturations(problem, logs) if saturations is None else saturations
    parts = []
    for i in range(0, len(logs), ROWS):
        rows = slice(i, i + ROWS)
        grid = _exponents(problem), values[rows]
        cost, amplitudes = _landscape(problem, logs[rows], multiplicity[rows], grid)
        if shared_exponents:
            cost[:] = cost.sum(axis=0, keepdims=True)
        chosen = _choose(problem, cost, keep)
        parts.append(_assemble(problem, grid, cost, amplitudes, chosen))
    return np.concatenate(parts)


def _landscape(
    problem: Problem, logs: Floats, multiplicity: Floats, grid: Grid
) -> tuple[Floats, Floats]:
    """Return the cost at every node (curves, rows, values, pairs), and B and E there."""
    curves = len(problem.index)
    cost = np.empty((curves, *grid[1].shape, len(grid[0])))
    amplitudes = np.empty((curves, 2, *cost.shape[1:]))
    for k in range(curves):
        points = problem.curve == k
        weights = problem.weights[points] * multiplicity[:, points]
        cost[k], amplitudes[k] = _project(
            problem, problem.x[points], np.exp(logs[:, points]), weights, grid
        )
    return cost, amplitudes


def _choose(problem: Problem, cost: Floats, keep: int) -> NDArray[np.int64]:
    """Return the saturations to start from, best first, shape (rows, keep, curves)."""
    curves = len(cost)
    each = cost.min(axis=3)
    if len(set(problem.index[:, SATURATION])) == 1:
        order = np.argsort(each.sum(axis=0), axis=1)[:, :keep]
        repeated = np.repeat(order[:, -1:], keep - order.shape[1], axis=1)
        order = np.concatenate([order, repeated], axis=1)
        return np.repeat(order[:, :, None], curves, axis=2)
    order = np.argsort(each, axis=2)[:, :, :keep]
    return np.moveaxis(order, 0, 2)


def _exponents(problem: Problem) -> Floats:
    """Return the pairs (f, d) of the grid, shape (pairs, 2)."""
    single = np.all(problem.upper[problem.index[:, SECOND]] == 0)
    if single:
        gaps = np.geomspace(0.004, 2.0, 36)
        return np.stack([np.zeros_like(gaps), gaps], axis=1)
    slow, gap = np.geomspace(0.004, 1.0, 10), np.geomspace(0.01, 2.0, 10)
    return np.stack(np.meshgrid(slow, gap, indexing="ij"), axis=-1).reshape(-1, 2)


def _saturations(problem: Problem, logs: Floats) -> Floats:
    """Return the grid of the saturation of each row, shape (rows, values)."""
    which = problem.index[0, SATURATION]
    if problem.still[which]:
        return np.full((len(logs), 1), problem.lower[which])
    top = ROOM * np.exp(logs.min(axis=1, keepdims=True))
    return top * np.linspace(0, 1, SATURATIONS + 1)[:-1]


def _project(
    problem: Problem, x: Floats, losses: Floats, weights: Floats, grid: Grid
) -> tuple[Floats, Floats]:
    """Return the cost (rows, values, pairs) of one curve and its B and E (2, rows, ...)."""
    exponents, values = grid
    slow = np.exp(-np.outer(x, exponents[:, 0]))
    steep = slow * np.exp(-np.outer(x, exponents[:, 1]))
    if np.all(problem.upper[problem.index[:, SECOND]] == 0):
        slow = np.zeros_like(slow)
    w = weights / losses**2
    ss, sq, qq = ((w @ t)[:, None, :] for t in (steep**2, steep * slow, slow**2))
    excess_s = ((w * losses) @ steep)[:, None] - values[:, :, None] * (w @ steep)[:, None]
    excess_q = ((w * losses) @ slow)[:, None] - values[:, :, None] * (w @ slow)[:, None]
    square = np.sum(w[:, None] * (losses[:, None] - values[:, :, None]) ** 2, axis=2)[..., None]
    return _two_amplitudes((ss, sq, qq), (excess_s, excess_q), square)


def _two_amplitudes(
    gram: tuple[Floats, Floats, Floats], excess: tuple[Floats, Floats], square: Floats
) -> tuple[Floats, Floats]:
    """Minimise ``square - 2 (B s + E q) + B^2 ss + 2 B E sq + E^2 qq`` over B, E >= 0."""
    (ss, sq, qq), (s, q) = gram, excess
    tiny = np.finfo(float).tiny
    determinant = ss * qq - sq**2
    inside = determinant > 1e-10 * ss * qq
    scale = np.where(inside, determinant, 1.0)
    both = ((qq * s - sq * q) / scale, (ss * q - sq * s) / scale)
    inside = inside & (both[0] >= 0) & (both[1] >= 0)
    only_s = np.maximum(s, 0) / np.maximum(ss, tiny)
    only_q = np.maximum(q, 0) / np.maximum(qq, tiny)
    steep_wins = only_s * s >= only_q * q
    first = np.where(inside, both[0], np.where(steep_wins, only_s, 0.0))
    second = np.where(inside, both[1], np.where(steep_wins, 0.0, only_q))
    cost = square - first * s - second * q
    return np.maximum(cost, 0), np.stack([first, second])


def _assemble(
    problem: Problem,
    grid: Grid,
    cost: Floats,
    amplitudes: Floats,
    chosen: NDArray[np.int64],
) -> Floats:
    """Return the parameter vectors of the `chosen` (rows, keep, curves) saturations."""
    exponents, values = grid
    rows, keep, curves = chosen.shape
    start = np.empty((rows, keep, len(problem.lower)))
    r = np.arange(rows)[:, None]
    for k in range(curves):
        value = chosen[:, :, k]
        pair = np.argmin(cost[k], axis=2)[r, value]
        own = {
            SATURATION: values[r, value],
            FIRST: amplitudes[k, 0][r, value, pair],
            SECOND: amplitudes[k, 1][r, value, pair],
            GAP: exponents[pair, 1],
            SLOW: exponents[pair, 0],
        }
        for column, found in own.items():
            start[:, :, problem.index[k, column]] = found
    return np.clip(start, problem.lower, problem.upper).reshape(rows * keep, -1)
