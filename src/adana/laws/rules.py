"""Rules for hyperparameters, fitted to optima that were tuned at several sizes.

Least squares of logarithms, every size with the same weight: an error of 10 % counts the same
everywhere, and the largest model does not dominate (the reference weighs by P and by rank,
spec/scaling_laws.md section 5). Fits start from several points within bounds, so that what comes
out is not where an optimizer happened to stop. A parameter that the data cannot tell is said to be
*not identified*, with the reason:

* the `b` of `a (b + P)^d` or the `c` of `... + c`, if the form without it fits as well (F-test);
* `A` or `B` of `a N^-A D^-B` where tokens grew with parameters, as in a ladder of equal D/N: then
  only the exponent along the ladder exists; `B` is held at 0 and `A` takes all of it;
* any parameter, where there are no more sizes than parameters.

Forms are compared by how well they predict the largest training from the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adana.laws.multiplier import LEVEL
from adana.laws.quantiles import fisher_point
from adana.laws.rule_forms import FORMS, Form, Scale, Scales, find_form
from adana.laws.rule_solver import HELD, Problem

BOOTSTRAP = 200
"""Bootstrap draws over sizes behind the intervals unless asked otherwise."""
RESOLUTION = 0.01
"""No tuned optimum is known better than this, relatively: residuals below it are not evidence."""
USUAL = "power"
"""Name of the form that is taken unless another is clearly better."""
FEW = 12
"""Below this many sizes, a bootstrap over them is too sure: simulated 90 % intervals of a power
law's exponent held the truth in 65, 74 and 84 % with 4, 6 and 8 sizes."""


@dataclass(frozen=True)
class Optimum:
    """The best value of a hyperparameter, tuned at one scale."""

    scale: Scale
    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise ValueError(
                f"a rule is fitted to positive finite optima, got {self.value}; leave out sizes "
                "where nothing was found"
            )


@dataclass(frozen=True)
class RuleFit:
    """One form fitted to tuned optima."""

    form: Form
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """By parameter: where `level` of the bootstrap draws over sizes lie; empty if too few sizes."""
    not_identified: dict[str, str]
    """By parameter that the data cannot tell: why."""
    rms: float
    """Root mean square of the residuals' logarithms (0.1: 10 %)."""
    holdout: float | None
    """ln(predicted / tuned) of the largest training by the fit to the others; None if too few."""
    sizes: int
    level: float = LEVEL
    statements: tuple[str, ...] = ()
    """What is to be known of this fit, in words."""

    def __call__(self, scale: Scale) -> float:
        """Return the hyperparameter at a scale."""
        return self.form(self.values, scale)


def fit_rule(
    optima: Sequence[Optimum],
    form: str,
    *,
    level: float = LEVEL,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> RuleFit:
    """Fit one form to tuned optima.

    Args:
        optima: at least as many distinct scales as the form has parameters to fit.
        form: a name of `adana.laws.rule_forms.FORMS`.
        level: coverage of the intervals, in (0, 1).
        bootstrap: draws over sizes, with replacement; 0 for no intervals.
        seed: of the draws.

    Raises:
        ValueError: the form is unknown, or there are too few scales for it.
    """
    problem = _problem(optima, find_form(form))
    distinct = len({optimum.scale for optimum in optima})
    if distinct < len(problem.free):
        raise ValueError(
            f"{problem.form.formula} has {len(problem.free)} parameters to fit, but only "
            f"{distinct} sizes were tuned; tune more sizes or take a simpler form"
        )
    values = problem.solve()
    fit = RuleFit(
        form=problem.form,
        values=values,
        intervals=_bootstrap(problem, level, bootstrap, seed),
        not_identified=_not_identified(problem, problem.sum_of_squares(values), level),
        rms=math.sqrt(problem.sum_of_squares(values) / len(optima)),
        holdout=_holdout(problem.form, optima),
        sizes=distinct,
        level=level,
    )
    return dataclasses.replace(fit, statements=_statements(fit))


def compare_rules(
    optima: Sequence[Optimum],
    *,
    level: float = LEVEL,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> list[RuleFit]:
    """Fit every form that the sizes allow, the best first.

    First come the forms whose parameters are all identified; of these `a P^d` (``power``), unless
    one with fewer parameters is as near to all optima (to 1 %), or another is nearer to the
    held-out largest training by more than the scatter of the optima: the nearest of many forms at
    one size is mostly the luckiest, and worse at the next. Then by that error (rounded to 1 %, the
    resolution of a tuned optimum), then by fewer parameters. Forms with too few sizes for a
    hold-out come last.

    Raises:
        ValueError: there is no optimum at all.
    """
    if not optima:
        raise ValueError("no tuned optimum is given; tune at least one size")
    distinct = len({optimum.scale for optimum in optima})
    fits = [
        fit_rule(optima, name, level=level, bootstrap=bootstrap, seed=seed)
        for name, form in FORMS.items()
        if len(_problem(optima, form).free) <= distinct
    ]
    usual = next((fit for fit in fits if fit.form.name == USUAL), None)
    return sorted(fits, key=lambda fit: _rank(fit, usual))


def _rank(fit: RuleFit, usual: RuleFit | None) -> tuple[bool, bool, bool, float, int]:
    error = 0 if fit.holdout is None else round(abs(fit.holdout) / RESOLUTION)
    passed_over = usual is not None and not _better(fit, usual)
    return (
        *(bool(fit.not_identified), fit.holdout is None, passed_over),
        *(error, len(fit.form.parameters)),
    )


def _better(fit: RuleFit, usual: RuleFit) -> bool:
    """Whether a form is to be taken before the usual one, as far as the optima tell; or is that."""
    if fit is usual or usual.not_identified or usual.holdout is None or fit.holdout is None:
        return True
    parameters = len(usual.form.parameters)
    if len(fit.form.parameters) < parameters and fit.rms <= max(usual.rms, RESOLUTION):
        return True  # as near with less
    scatter = usual.rms * math.sqrt(usual.sizes / max(1, usual.sizes - parameters))
    return abs(fit.holdout) < abs(usual.holdout) - max(scatter, RESOLUTION)


def _problem(optima: Sequence[Optimum], form: Form) -> Problem:
    return Problem.of(form, [o.scale for o in optima], [o.value for o in optima])


def _not_identified(problem: Problem, rss: float, level: float) -> dict[str, str]:
    """Return the parameters that the data cannot tell, with reasons."""
    reasons = {name: HELD[name] for name in problem.held}
    form, points, needed = problem.form, len(problem.logs), len(problem.free)
    if points <= needed and needed > 1:
        why = f"{points} tuned sizes for {needed} parameters: nothing is left to judge them by"
        return {name: reasons.get(name, why) for name in form.parameters}
    if form.extra not in ("b", "c"):
        return reasons
    simpler = Problem(find_form(form.nested), problem.scales, problem.logs)
    gained = simpler.sum_of_squares(simpler.solve()) - rss
    noise = max(rss / (points - needed), RESOLUTION**2)
    if gained / noise > fisher_point(level, 1, points - needed):
        return reasons
    why = f"{simpler.form.formula} fits the tuned sizes as well (F-test at {100 * level:g} %)"
    return reasons | {form.extra: why}


def _bootstrap(
    problem: Problem, level: float, draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Return the interval of each fitted parameter over draws of sizes with replacement.

    A draw must hold one more distinct size than there are parameters; with fewer sizes than two
    more there are no intervals.
    """
    points, needed = len(problem.logs), len(problem.free)
    if not draws or points < needed + 2:
        return {}
    rng = np.random.default_rng(seed)
    found: list[dict[str, float]] = []
    while len(found) < draws:
        rows = rng.integers(points, size=points)
        if len(set(rows.tolist())) > needed:
            found.append(problem.take(rows).solve())
    tails = [0.5 - level / 2, 0.5 + level / 2]
    ends = {n: np.quantile([values[n] for values in found], tails) for n in problem.free}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _holdout(form: Form, optima: Sequence[Optimum]) -> float | None:
    """Return ln(predicted / tuned) of the largest training, fitted without it."""
    largest = max((o.scale for o in optima), key=lambda s: s.non_embedding * s.tokens)
    rest = [optimum for optimum in optima if optimum.scale != largest]
    if not rest:
        return None
    problem = _problem(rest, form)
    if len({optimum.scale for optimum in rest}) < len(problem.free):
        return None
    predicted = form.log_value(problem.solve(), Scales.of([largest]))[0]
    tuned = np.mean([math.log(o.value) for o in optima if o.scale == largest])
    return float(predicted - tuned)


def _statements(fit: RuleFit) -> tuple[str, ...]:
    said = [f"{name} is not identified: {why}" for name, why in fit.not_identified.items()]
    if fit.holdout is None:
        said.append("too few sizes to hold the largest out: the rule is untested")
    if not fit.intervals:
        said.append("too few sizes for intervals")
    elif fit.sizes < FEW:
        said.append(f"intervals from only {fit.sizes} sizes are too narrow")
    return tuple(said)
