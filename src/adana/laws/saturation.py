"""The profile of the saturation: how much worse the best fit gets when `a` is held elsewhere.

The value of `a` alone misleads. Losses over three decades of compute bend so little that the
residuals hardly change while `a` goes from 0 to half the entropy of text (spec/scaling_laws section
3), and every other parameter goes with it. The profile shows that valley, and its likelihood-ratio
interval says which values the runs exclude.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.joint_fit import ROOM, SATURATION, Problem, polish, robust_cost
from adana.laws.quantiles import fisher_point
from adana.laws.solve import fit_rows

Floats = NDArray[np.float64]

COARSE = 24
"""Values of the saturation over its whole range at which the other parameters are fitted again."""

FINE = 24
"""More of them around the minimum, where the interval's ends are read off."""


@dataclass(frozen=True)
class SaturationProfile:
    """The best cost at each held value of the shared saturation."""

    values: Floats
    """Nats a token, ascending from 0, shape (values,)."""
    objective: Floats
    """Sum of squared log residuals (Huber's cost where robust), minimal over the rest."""
    low: float
    high: float
    """Ends of the likelihood-ratio interval. `low` is 0 and `high` is the largest value possible
    where the runs do not exclude these.
    Likelihood ratio: the cost stays below ``best (1 + F(level; 1, freedom) / freedom)``."""
    level: float

    @property
    def open_below(self) -> bool:
        """Whether the runs agree with no saturation at all."""
        return self.low <= 0

    @property
    def open_above(self) -> bool:
        """Whether the runs agree with a saturation just below their lowest loss."""
        return self.high >= float(self.values[-1])


def profile_saturation(
    problem: Problem, found: Floats, logs: Floats, delta: float, *, shared: bool, level: float
) -> SaturationProfile | None:
    """Profile the shared saturation of a fit; None where it is held still, or one a curve.

    `found` (parameters,) is the best fit, `shared` says whether the exponents are.
    """
    column = problem.index[:, SATURATION]
    where = column[0]
    if len(set(column)) > 1 and len(column) > 1:
        return None
    if problem.still[where]:
        return None
    at, freedom = float(found[where]), len(logs) - problem.free
    best = float(robust_cost(problem.predict(found[None]) - logs, problem.weights, delta)[0])
    bound = best * (1 + fisher_point(level, 1, freedom) / freedom) if freedom > 0 else np.inf
    values = np.linspace(0, ROOM * float(np.exp(logs.min())), COARSE)
    objective = _costs(problem, values, logs, delta, shared=shared)
    first, last = _around(values, objective, bound, at)
    fine = np.linspace(values[max(first - 1, 0)], values[min(last + 1, COARSE - 1)], FINE + 2)[1:-1]
    more = np.unique(np.append(fine, at))
    objective = np.append(objective, _costs(problem, more, logs, delta, shared=shared))
    values, order = np.unique(np.append(values, more), return_index=True)
    objective = objective[order]
    first, last = _around(values, objective, bound, at)
    low, high = float(values[first]), float(values[last])
    if first > 0:
        low = _crossing(values, objective, first - 1, first, bound)
    if last < len(values) - 1:
        high = _crossing(values, objective, last, last + 1, bound)
    return SaturationProfile(values, objective, min(low, at), max(high, at), level)


def _costs(problem: Problem, values: Floats, logs: Floats, delta: float, *, shared: bool) -> Floats:
    """Fit at each value from its own grid, then from its neighbours' answers on both sides."""
    held = problem.holding(SATURATION)
    rows = np.broadcast_to(logs, (len(values), len(logs)))
    found = fit_rows(held, rows, shared_exponents=shared, delta=delta, saturations=values[:, None])
    parameters, cost = found.parameters, found.cost
    for shift in (1, -1):
        moved = np.roll(parameters, shift, axis=0)
        moved[:, problem.index[0, SATURATION]] = values
        again = polish(held, moved, rows, delta=delta, steps=60)
        better = again.cost < cost
        parameters = np.where(better[:, None], again.parameters, parameters)
        cost = np.minimum(cost, again.cost)
    return cost


def _around(values: Floats, objective: Floats, bound: float, at: float) -> tuple[int, int]:
    """Return the first and last value whose objective is below `bound`, or those next to `at`."""
    inside = np.flatnonzero(objective <= bound)
    if len(inside):
        return int(inside[0]), int(inside[-1])
    right = int(np.clip(np.searchsorted(values, at), 1, len(values) - 1))
    return right - 1, right


def _crossing(values: Floats, objective: Floats, i: int, j: int, bound: float) -> float:
    """Return where the objective passes `bound` between two neighbouring values."""
    share = (bound - objective[i]) / (objective[j] - objective[i])
    return float(values[i] + share * (values[j] - values[i]))
