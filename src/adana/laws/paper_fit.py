"""The reference's own fit (spec/scaling_laws section 3), for comparison with what it published.

Adagrad from one starting point, on unconstrained parameters: the saturation through a sigmoid, the
amplitudes through an exponential, the exponents as they are. Nothing here is recommended. Its steps
shrink with the squared gradients that it has seen, and with residuals below a per cent the
gradient of the saturation is so small that `a` ends where it began: start it elsewhere and it ends
elsewhere. Ours runs in double precision, the reference's in single; Adagrad is that of optax, with
its initial accumulator of 0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.law_problem import Form, Weights

Floats = NDArray[np.float64]

LEARNING_RATE, STEPS = 0.1, 50_000
"""Of the reference."""

ACCUMULATOR, EPSILON = 0.1, 1e-7
"""Defaults of optax.adagrad."""

SMALL = 1e-8
"""Added to the excess loss before its logarithm is taken, in the single fit."""


@dataclass(frozen=True)
class PaperStart:
    """Where the reference starts: its script behind the headline figure, unless changed."""

    a_raw: float = -3.1
    b: float = 0.4
    c: float = 0.2
    e: float = 2.5
    f: float = 0.03


HEADLINE = PaperStart()
"""Broken law, script ``ep``: a starts at 0.043 of 0.99 times the lowest loss."""

SINGLE = PaperStart(a_raw=float(np.log(0.1 / 0.9)), b=0.5, c=0.05, e=0.0, f=0.0)
"""Single law, script ``ep``: a starts at a tenth of 0.95 times the lowest loss."""

CEILING = {"broken": 0.99, "single": 0.95}
"""Largest saturation as a share of the lowest loss."""


def paper_fit(
    curves: Sequence[Curve],
    form: Form = "broken",
    weights: Weights = "equal",
    *,
    start: PaperStart | None = None,
    steps: int = STEPS,
) -> Floats:
    """Return (a, b, c, e, f) of each curve, shape (curves, 5): the best iterate of `steps`.

    The saturation is shared. The single form fits the log of the excess over `a`, the broken one
    the log loss, as the reference does.
    """
    start = start or (HEADLINE if form == "broken" else SINGLE)
    objective = _Objective.of(curves, form, weights)
    values = np.concatenate(
        [
            [start.a_raw],
            np.repeat(np.log(start.b), len(curves)),
            np.repeat(start.c, len(curves)),
            np.repeat(np.log(start.e) if start.e > 0 else -np.inf, len(curves)),
            np.repeat(start.f, len(curves)),
        ]
    )
    squares = np.full_like(values, ACCUMULATOR)
    best, lowest = values, np.inf
    for _ in range(steps):
        cost, gradient = objective(values)
        if cost < lowest:
            best, lowest = values, cost
        squares = squares + gradient**2
        values = values - LEARNING_RATE * gradient / np.sqrt(squares + EPSILON)
    return objective.laws(best)


@dataclass(frozen=True)
class _Objective:
    """The reference's mean squared residual and its gradient."""

    x: Floats
    log_loss: Floats
    weights: Floats
    owner: NDArray[np.int64]
    """The curve of each point."""
    curves: int
    ceiling: float
    broken: bool

    @classmethod
    def of(cls, curves: Sequence[Curve], form: Form, weights: Weights) -> _Objective:
        computes = np.concatenate([curve.computes for curve in curves])
        loss = np.concatenate([curve.means for curve in curves])
        owner = np.repeat(np.arange(len(curves)), [len(curve.points) for curve in curves])
        weight = (
            computes / computes.sum() if weights == "compute" else np.full(len(loss), 1 / len(loss))
        )
        return cls(
            np.log(computes),
            np.log(loss),
            weight,
            owner,
            len(curves),
            CEILING[form] * float(loss.min()),
            form == "broken",
        )

    def __call__(self, values: Floats) -> tuple[float, Floats]:
        sigmoid = 1 / (1 + np.exp(-values[0]))
        a, slope = self.ceiling * sigmoid, self.ceiling * sigmoid * (1 - sigmoid)
        log_b, c, log_e, f = values[1:].reshape(4, -1)[:, self.owner]
        first = np.exp(log_b - c * self.x)
        if self.broken:
            second = np.exp(log_e - f * self.x)
            loss = a + first + second
            residual = np.log(loss) - self.log_loss
            by_a = slope / loss
            parts = [first / loss, -self.x * first / loss, second / loss, -self.x * second / loss]
        else:
            excess = np.exp(self.log_loss) - a + SMALL
            residual = np.log(excess) - log_b + c * self.x
            by_a = -slope / excess
            parts = [-np.ones_like(c), self.x, np.zeros_like(c), np.zeros_like(c)]
        pull = 2 * self.weights * residual
        gradient = [np.bincount(self.owner, pull * part, self.curves) for part in parts]
        cost = float(np.sum(self.weights * residual**2))
        return cost, np.concatenate([[np.sum(pull * by_a)], *gradient])

    def laws(self, values: Floats) -> Floats:
        """Return (a, b, c, e, f) of each curve."""
        log_b, c, log_e, f = values[1:].reshape(4, -1)
        a = np.full_like(c, self.ceiling / (1 + np.exp(-values[0])))
        return np.stack([a, np.exp(log_b), c, np.exp(log_e), f], axis=1)
