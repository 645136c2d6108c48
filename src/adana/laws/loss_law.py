"""Loss laws of several optimizers, fitted together: what the runs say, and how surely.

``L(C) = a + b C^-c`` (single) or ``L(C) = a + b C^-c + e C^-f`` with ``c > f > 0`` (broken), with
the saturation ``a`` shared by all curves unless asked otherwise: optimizers that train the same
model on the same data should end at the same entropy. The recommendations of spec/scaling_laws
section 3 are followed: log residuals, equal weights, ordered exponents, every draw fitted from a
grid of its own, and the saturation's profile beside its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from adana.checks import check_integer
from adana.laws.curves import Curve
from adana.laws.holdout import LeftOut, leave_largest_out
from adana.laws.identifiability import Evidence, describe
from adana.laws.law_fitting import Best, Choice, best_of, draws_of, rivals_of
from adana.laws.law_problem import (
    Exponents,
    Form,
    Saturation,
    Weights,
    build_problem,
    laws_of,
)
from adana.laws.multiplier import LEVEL
from adana.laws.paper_fit import paper_fit
from adana.laws.resampling import Kind, Noise, measure_noise
from adana.laws.saturation import SaturationProfile, profile_saturation

Floats = NDArray[np.float64]
Method = Literal["robust", "least-squares", "paper"]

PARAMETERS = ("a", "b", "c", "e", "f")
"""Columns of a replicate."""


@dataclass(frozen=True)
class LossLaw:
    """``L(C) = a + b C^-c + e C^-f``, in nats a token; the single law has ``e = f = 0``."""

    a: float
    b: float
    c: float
    e: float = 0.0
    f: float = 0.0

    @overload
    def __call__(self, compute: float) -> float: ...

    @overload
    def __call__(self, compute: Floats) -> Floats: ...

    def __call__(self, compute: float | Floats) -> float | Floats:
        """Return the loss at `compute`, a number or an array of them.

        >>> round(LossLaw(a=0.5, b=2.0, c=0.5)(4.0), 6)
        1.5
        """
        return self.a + self.b * compute**-self.c + self.e * compute**-self.f


@dataclass(frozen=True)
class LawFit:
    """Laws of several curves fitted together, their bootstrap draws, and what can be trusted."""

    form: Form
    laws: Mapping[str, LossLaw]
    replicates: Mapping[str, Floats]
    """By curve: bootstrap draws of (a, b, c, e, f), shape (draws, 5). The same row is the same draw
    in all curves, so differences between curves are taken row by row."""
    rms: float
    """Root mean square of the log residuals, weighted as the fit was."""
    noise: Noise
    ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest compute of each curve."""
    residuals: Mapping[str, Floats]
    """By curve: fitted minus observed log loss of each point."""
    profile: SaturationProfile | None = None
    """None where the saturation is held still, or each curve has its own."""
    leave_largest_out: Mapping[str, LeftOut] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    """What is and is not known, in words."""

    def interval(self, name: str, level: float = LEVEL) -> Floats:
        """Return the interval of (a, b, c, e, f) of one curve, shape (5, 2); NaN without draws."""
        draws = self.replicates[name]
        if not len(draws):
            return np.full((5, 2), np.nan)
        tail = (1 - level) / 2
        return np.quantile(draws, [tail, 1 - tail], axis=0).T


def fit_loss_laws(
    curves: Sequence[Curve],
    *,
    form: Form = "single",
    saturation: Saturation = "shared",
    exponents: Exponents = "free",
    method: Method = "robust",
    weights: Weights = "equal",
    bootstrap: int = 1000,
    resample: Kind = "residuals",
    seed: int = 0,
) -> LawFit:
    """Fit one law a curve, together.

    `saturation` is ``shared`` by all curves, ``free`` for each, ``zero`` or a number of nats;
    `exponents` are ``free`` for each curve or ``shared``. `method` ``robust`` is Huber's cost on
    log residuals, which is ``least-squares`` where no point stands out. `weights` ``compute``
    weighs every point by its compute, so that the largest sizes decide. `method` ``paper`` is the
    reference's procedure, without intervals: see `adana.laws.paper_fit`. `bootstrap` is the number
    of draws (0: no intervals) and `resample` their kind, see `adana.laws.resampling`.

    Raises `ValueError` where there are fewer points than parameters, for an unknown word and a
    negative number of draws.
    """
    check_integer("bootstrap", bootstrap, low=0)
    if method not in get_args(Method):
        raise ValueError(f"method is one of {', '.join(get_args(Method))}, got {method!r}")
    if method == "paper":
        return _as_the_paper(curves, form, saturation, exponents, weights)
    choice = Choice(form, saturation, exponents, weights, method == "robust")
    best = best_of(curves, choice)
    fit = _without_intervals(curves, best, choice)
    draws = draws_of(
        curves, best, choice, noise=fit.noise, resample=resample, draws=bootstrap, seed=seed
    )
    replicates = laws_of(best.problem, draws)
    profile = profile_saturation(
        best.problem,
        best.parameters,
        best.logs,
        best.delta,
        shared=choice.shared_exponents,
        level=LEVEL,
    )
    left_out = leave_largest_out(curves, lambda fewer: _laws(fewer, best_of(fewer, choice)))
    fit = replace(
        fit,
        replicates={c.name: replicates[:, k] for k, c in enumerate(curves)},
        profile=profile,
        leave_largest_out=left_out,
    )
    return replace(fit, statements=describe(_evidence(curves, best, choice, fit)))


def _as_the_paper(
    curves: Sequence[Curve],
    form: Form,
    saturation: Saturation,
    exponents: Exponents,
    weights: Weights,
) -> LawFit:
    """Fit as the reference does; what it fitted is the same problem with fewer choices."""
    if saturation != "shared" or exponents != "free":
        raise ValueError(
            f"method paper has a shared saturation and free exponents, got {saturation!r} and "
            f"{exponents!r}; use another method"
        )
    problem, _ = build_problem(curves, form, saturation, exponents, weights)
    rows = paper_fit(curves, form, weights)
    laws = {c.name: LossLaw(*map(float, row)) for c, row in zip(curves, rows, strict=True)}
    residuals = {c.name: np.log(laws[c.name](c.computes)) - np.log(c.means) for c in curves}
    together = np.concatenate(list(residuals.values()))
    return LawFit(
        form=form,
        laws=laws,
        replicates={curve.name: np.empty((0, 5)) for curve in curves},
        rms=float(np.sqrt(np.mean(problem.weights * together**2))),
        noise=Noise(0.0, 0, "nothing: the reference's procedure has no intervals"),
        ranges={c.name: (float(c.computes[0]), float(c.computes[-1])) for c in curves},
        residuals=residuals,
        statements=(
            "the reference's procedure: one start, Adagrad, no intervals; its saturation stays "
            "near its start, so it is not a finding",
        ),
    )


def _laws(curves: Sequence[Curve], best: Best) -> dict[str, LossLaw]:
    rows = laws_of(best.problem, best.parameters[None])[0]
    return {curve.name: LossLaw(*map(float, row)) for curve, row in zip(curves, rows, strict=True)}


def _without_intervals(curves: Sequence[Curve], best: Best, choice: Choice) -> LawFit:
    problem = best.problem
    residuals = problem.predict(best.parameters[None])[0] - best.logs
    return LawFit(
        form=choice.form,
        laws=_laws(curves, best),
        replicates={curve.name: np.empty((0, 5)) for curve in curves},
        rms=float(np.sqrt(np.mean(problem.weights * residuals**2))),
        noise=_noise(curves, best, choice),
        ranges={c.name: (float(c.computes[0]), float(c.computes[-1])) for c in curves},
        residuals={c.name: residuals[problem.curve == k] for k, c in enumerate(curves)},
    )


def _noise(curves: Sequence[Curve], best: Best, choice: Choice) -> Noise:
    """Measure the noise on the fit with equal weights: others leave larger residuals on purpose."""
    if choice.weights != "equal":
        best = best_of(curves, replace(choice, weights="equal"))
    return measure_noise(best.problem, best.parameters, best.logs, best.delta, curves)


def _evidence(curves: Sequence[Curve], best: Best, choice: Choice, fit: LawFit) -> Evidence:
    points = [(c.name, p.compute) for c in curves for p in c.points]
    residuals = np.concatenate([fit.residuals[curve.name] for curve in curves])
    far = np.flatnonzero(np.abs(residuals) > best.delta)
    return Evidence(
        form=fit.form,
        cost=best.cost,
        free=best.problem.free,
        points=len(points),
        noise=fit.noise,
        profile=fit.profile,
        intervals={name: fit.interval(name) for name in fit.laws if len(fit.replicates[name])},
        level=LEVEL,
        rivals=rivals_of(curves, best, choice),
        left_out=fit.leave_largest_out,
        outliers=tuple(f"{points[i][0]} at compute {points[i][1]:.3g}" for i in far),
    )
