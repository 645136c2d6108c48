"""The steps of a joint fit: what was chosen, the best fit, its draws, and the laws beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.identifiability import Rival
from adana.laws.joint_fit import Problem, robust_cost
from adana.laws.law_problem import Exponents, Form, Saturation, Weights, build_problem
from adana.laws.resampling import Kind, Noise, draw_residuals, draw_sizes
from adana.laws.solve import fit_one, fit_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What the caller chose."""

    form: Form
    saturation: Saturation
    exponents: Exponents
    weights: Weights
    robust: bool

    @property
    def shared_exponents(self) -> bool:
        """Whether all curves have the same exponents."""
        return self.exponents == "shared"


@dataclass(frozen=True)
class Best:
    """A problem, its data, and the parameters that fit them best."""

    problem: Problem
    logs: Floats
    parameters: Floats
    delta: float

    @property
    def cost(self) -> float:
        """The cost that the parameters minimise."""
        residuals = self.problem.predict(self.parameters[None]) - self.logs
        return float(robust_cost(residuals, self.problem.weights, self.delta)[0])


def best_of(curves: Sequence[Curve], choice: Choice) -> Best:
    """Fit the chosen law; `ValueError` where the curves are too short for it."""
    problem, logs = build_problem(
        curves, choice.form, choice.saturation, choice.exponents, choice.weights
    )
    parameters, delta = fit_one(
        problem, logs, shared_exponents=choice.shared_exponents, robust=choice.robust
    )
    return Best(problem, logs, parameters, delta)


def draws_of(
    curves: Sequence[Curve],
    best: Best,
    choice: Choice,
    *,
    noise: Noise,
    resample: Kind,
    draws: int,
    seed: int,
) -> Floats:
    """Return the parameters of every bootstrap draw, shape (draws, parameters)."""
    if not draws or not noise.freedom:
        return np.empty((0, len(best.parameters)))
    rng = np.random.default_rng(seed)
    counts = None
    if resample == "residuals":
        logs = draw_residuals(best.problem, best.parameters, noise, draws, rng)
    else:
        logs, counts = draw_sizes(curves, 4 if choice.form == "broken" else 2, draws, rng)
    return fit_rows(
        best.problem,
        logs,
        shared_exponents=choice.shared_exponents,
        delta=best.delta,
        also=np.broadcast_to(best.parameters, (draws, len(best.parameters))),
        multiplicity=counts,
    ).parameters


def rivals_of(curves: Sequence[Curve], best: Best, choice: Choice) -> tuple[Rival, ...]:
    """Fit the laws next to the chosen one: the other form, the other sharing of exponents."""
    other: dict[str, dict[str, Any]] = {}
    form: Form = "single" if choice.form == "broken" else "broken"
    other[f"the {form} law"] = {"form": form}
    if len(curves) > 1:
        exponents: Exponents = "free" if choice.shared_exponents else "shared"
        title = "one exponent for all optimizers" if exponents == "shared" else "an exponent each"
        other[title] = {"exponents": exponents}
    rivals = []
    for name, change in other.items():
        changed = replace(choice, **change)
        try:
            problem, logs = build_problem(
                curves, changed.form, changed.saturation, changed.exponents, changed.weights
            )
        except ValueError:
            continue
        cost = fit_rows(
            problem,
            logs[None],
            shared_exponents=changed.shared_exponents,
            delta=best.delta,
            keep=12,
        ).cost[0]
        rivals.append(Rival(name, float(cost), problem.free))
    return tuple(rivals)
