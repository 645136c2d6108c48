"""Loss laws of several optimizers, fitted together: what the runs say, and how surely.

``L(C) = a + b C^-c`` (single) or ``L(C) = a + b C^-c + e C^-f`` with ``c > f > 0`` (broken), with
the saturation ``a`` shared by all curves unless asked otherwise: optimizers that train the same
model on the same data should end at the same entropy. The recommendations of spec/scaling_laws
section 3 are followed: log residuals, equal weights, ordered exponents, every draw fitted from a
grid of its own, and the saturation's profile beside its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.joint_fit import Problem
from adana.laws.law_problem import (
    Exponents,
    Form,
    Saturation,
    Weights,
    build_problem,
    laws_of,
)
from adana.laws.resampling import Kind, Noise, draw_residuals, draw_sizes, measure_noise
from adana.laws.solve import fit_one, fit_rows

Floats = NDArray[np.float64]
Method = Literal["robust", "least-squares"]

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
    statements: tuple[str, ...]
    """What is and is not known, in words."""
    noise: Noise
    ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest compute of each curve."""
    residuals: Mapping[str, Floats] = field(default_factory=dict)
    """By curve: fitted minus observed log loss of each point."""

    def interval(self, name: str, level: float = 0.9) -> Floats:
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
    weighs every point by its compute, so that the largest sizes decide. `bootstrap` is the number
    of draws (0: no intervals) and `resample` their kind, see `adana.laws.resampling`.

    Raises `ValueError` where there are fewer points than parameters, or an unknown word.
    """
    problem, logs = build_problem(curves, form, saturation, exponents, weights)
    shared, robust = exponents == "shared", method == "robust"
    found, delta = fit_one(problem, logs, shared_exponents=shared, robust=robust)
    noise = measure_noise(problem, found, logs, delta, curves)
    draws = np.empty((0, len(found)))
    if bootstrap and noise.freedom:
        rng = np.random.default_rng(seed)
        drawn, counts = _draw(
            problem, found, noise, curves, resample=resample, draws=bootstrap, rng=rng
        )
        draws = fit_rows(
            problem,
            drawn,
            shared_exponents=shared,
            delta=delta,
            also=np.broadcast_to(found, (bootstrap, len(found))),
            multiplicity=counts,
        ).parameters
    residuals = problem.predict(found[None])[0] - logs
    laws, replicates = laws_of(problem, found[None])[0], laws_of(problem, draws)
    return LawFit(
        form=form,
        laws={c.name: LossLaw(*map(float, laws[k])) for k, c in enumerate(curves)},
        replicates={c.name: replicates[:, k] for k, c in enumerate(curves)},
        rms=float(np.sqrt(np.mean(problem.weights * residuals**2))),
        statements=(),
        noise=noise,
        ranges={c.name: (float(c.computes[0]), float(c.computes[-1])) for c in curves},
        residuals={c.name: residuals[problem.curve == k] for k, c in enumerate(curves)},
    )


def _draw(
    problem: Problem,
    found: Floats,
    noise: Noise,
    curves: Sequence[Curve],
    *,
    resample: Kind,
    draws: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats | None]:
    if resample == "residuals":
        return draw_residuals(problem, found, noise, draws, rng), None
    own = 2 + 2 * bool(np.any(problem.upper[problem.index[:, 3]] > 0))
    return draw_sizes(curves, own, draws, rng)
