"""One call from data to fitted parameters: a grid of starts, a polish, and the scale of the noise.

The robust fit is Huber's with its corner at `HUBER` times the residuals' own scale: on clean data
it is least squares to the last digit, and one run that went wrong does not bend the law.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adana.laws.joint_fit import Problem, Solution, polish
from adana.laws.starts import grid_starts

Floats = NDArray[np.float64]

HUBER = 4.0
"""Corner of Huber's cost, in units of the residuals' scale: clean ones are inside."""

MAD = 1.4826
"""Median absolute deviation of a normal variable, inverted."""

FINEST = 1e-9
"""Log residuals below this are rounding, not noise."""


def fit_rows(
    problem: Problem,
    logs: Floats,
    *,
    shared_exponents: bool,
    delta: float = np.inf,
    keep: int = 1,
    also: Floats | None = None,
    multiplicity: Floats | None = None,
    saturations: Floats | None = None,
) -> Solution:
    """Fit every row of `logs` (rows, points) from its `keep` best grid nodes, and from `also`.

    `also` (rows, parameters) holds one more start a row, the fit of similar data for example.
    `saturations` (rows, values) replaces the grid's values of `a`.
    """
    counts = np.ones_like(logs) if multiplicity is None else multiplicity
    starts = grid_starts(
        problem,
        logs,
        shared_exponents=shared_exponents,
        keep=keep,
        multiplicity=counts,
        saturations=saturations,
    ).reshape(len(logs), keep, -1)
    if also is not None:
        starts = np.concatenate([starts, also[:, None]], axis=1)
    each = starts.shape[1]
    found = polish(
        problem,
        starts.reshape(len(logs) * each, -1),
        np.repeat(logs, each, axis=0),
        delta=delta,
        multiplicity=np.repeat(counts, each, axis=0),
    )
    return found.best(each)


def fit_one(
    problem: Problem, logs: Floats, *, shared_exponents: bool, robust: bool, keep: int = 12
) -> tuple[Floats, float]:
    """Fit one data set (points,); return its parameters and the corner of Huber's cost used."""
    found = fit_rows(problem, logs[None], shared_exponents=shared_exponents, keep=keep)
    if not robust:
        return found.parameters[0], np.inf
    delta = np.inf
    for _ in range(4):
        delta = HUBER * scale_of(problem, found.parameters, logs)
        found = fit_rows(
            problem,
            logs[None],
            shared_exponents=shared_exponents,
            delta=delta,
            keep=keep,
            also=found.parameters,
        )
    return found.parameters[0], delta


def scale_of(problem: Problem, parameters: Floats, logs: Floats) -> float:
    """Return the residuals' scale by their median, corrected for the fitted parameters."""
    residuals = np.sqrt(problem.weights) * (problem.predict(parameters)[0] - logs)
    freedom = max(len(logs) - problem.free, 1)
    scale = MAD * float(np.median(np.abs(residuals))) * np.sqrt(len(logs) / freedom)
    return max(float(scale), FINEST)
