"""The clock theta(t) in which every method follows the curve of SGD, and its constants.

    theta(t) = 2 int gamma2 ds  +  (int_0^t sqrt(gamma1 gamma3) ds)^2

SGD learns the direction of eigenvalue lambda when `lambda theta = 1`, by its steps; log-time
momentum by the second term, as an oscillator (spec/plrf.md section 7.2). Where momentum dominates,
one mode of the bias is a Bessel function of `sqrt(lambda theta)` of order `nu`, and the sum over a
power law of modes gives the constants here. They hold for a memory `forget ~ delta/t` and
`gamma1 gamma3 ~ t^-kappa`; `averaging` says that the buffer is an average (gamma1 = forget),
whose own normalisation takes one from delta, rather than a sum (gamma1 = 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from adana.checks import check_range
from adana.plrf.curve import RiskCurve
from adana.plrf.momentum import Momentum
from adana.plrf.phases import spectrum_exponent

PANEL = 0.1
"""Widest step of the quadrature over log(1+t)."""

GROWING = 0.5
"""A log-time memory has `forget + d log(1/forget) / d log t = 1` at all times; of a fixed one the
second term is 0, and this is more."""


def clock(method: Momentum, steps: ArrayLike) -> np.ndarray:
    """Return theta at steps `t >= 0`, increasing; in units of 1/eigenvalue. Shape of `steps`.

    Raises `ValueError` for a method whose memory does not grow with time, such as SGD-M:
    that is SGD with `effective_step`.
    """
    steps = np.asarray(steps, dtype=np.float64)
    if steps.ndim != 1 or steps.size == 0 or steps[0] < 0 or (np.diff(steps) < 0).any():
        raise ValueError(f"steps must be one increasing row of numbers from 0 on, got {steps}")
    _check_memory(method, float(steps[-1]))
    panels = int(np.ceil(np.log1p(steps[-1]) / PANEL)) + 1
    ends = np.union1d(np.linspace(0, np.log1p(steps[-1]), panels + 1), np.log1p(steps))
    points, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(ends)[:, None] / 2
    log_t = (ends[1:] + ends[:-1])[:, None] / 2 + half * points
    at = method.at(np.expm1(log_t))
    measure = half * weights * np.exp(log_t)

    def integral(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(np.sum(values * measure, axis=1))])
        return sums[np.searchsorted(ends, np.log1p(steps))]

    return 2 * integral(at.gamma2) + integral(np.sqrt(at.gamma1 * at.gamma3)) ** 2


def _check_memory(method: Momentum, step: float) -> None:
    """Raise `ValueError` where a memory that momentum uses has stopped growing by this step."""
    nearby = step * np.array([0.95, 1.0])
    at = method.at(nearby)
    if step == 0 or at.gamma1[1] * at.gamma3[1] == 0:
        return
    slope = -np.diff(np.log(at.forget))[0] / -np.log(0.95)
    if slope + at.forget[1] < GROWING:
        raise ValueError(
            f"{method.name} forgets {at.forget[1]:.3g} a step after {step:.3g} steps, and that "
            "does not fall with time as 1/t: once its memory is full it runs on the clock of SGD "
            "with its effective_step"
        )


def effective_step(method: Momentum, step: float = 1e6) -> float:
    """Return `gamma2 + gamma1 gamma3 / forget` at a step: SGD's step of the same slope.

    For methods whose schedules are constant by then, such as SGD-M (spec section 2.2).
    """
    at = method.at(step)
    return float(at.gamma2 + at.gamma1 * at.gamma3 / at.forget)


def needed_delta(exponent: float, kappa: float, *, averaging: bool = False) -> float:
    """Return the delta above which momentum lets the risk fall as `theta^-exponent`.

    With less, the risk falls no faster than `t^-(delta + kappa/2)`: the memory is too short. The
    exponents: `spectrum_exponent` in phases I and II, `2 - 1/(2 alpha)` in phase III.
    """
    check_range("kappa", kappa, low=0.0, high=2.0, high_open=True)
    return exponent * (2 - kappa) - kappa / 2 + averaging


def sgd_constant(exponent: float) -> float:
    """Return Gamma(p), the constant of SGD: see `leading_risk`."""
    check_range("exponent", exponent, low=0.0, low_open=True)
    return float(np.exp(gammaln(exponent)))


def momentum_constant(
    exponent: float, delta: float, kappa: float, *, averaging: bool = False
) -> float:
    """Return C(p, delta, kappa), the constant of log-time momentum: see `leading_risk`.

    Raises `ValueError` unless delta is above `needed_delta`.
    """
    check_range("exponent", exponent, low=0.0, low_open=True)
    least = needed_delta(exponent, kappa, averaging=averaging)
    if not delta > least:
        raise ValueError(
            f"delta must be more than {least:.4g} for the risk to fall as theta^-{exponent:.4g} "
            f"with kappa={kappa:.4g}, got {delta:.4g}: use a longer memory"
        )
    nu = ((delta - averaging + kappa / 2) / (1 - kappa / 2) - 1) / 2
    mu = 2 * nu - 2 * exponent + 1
    log_c = (
        (1 + 2 * nu - mu) * np.log(2)
        + 2 * gammaln(nu + 1)
        + gammaln(mu)
        + gammaln(nu + (1 - mu) / 2)
        - 2 * gammaln((1 + mu) / 2)
        - gammaln(nu + (1 + mu) / 2)
    )
    return float(np.exp(log_c))


def clock_rate(exponent: float, delta: float, kappa: float, *, averaging: bool = False) -> float:
    """Return how much of SGD's clock one unit of momentum's is worth, `(Gamma(p)/C)^(1/p)`."""
    constant = momentum_constant(exponent, delta, kappa, averaging=averaging)
    return float((sgd_constant(exponent) / constant) ** (1 / exponent))


def leading_risk(
    alpha: float, beta: float, theta: ArrayLike, constant: float, noise: ArrayLike = 0.0
) -> np.ndarray:
    """Return P while `F_pp` leads: `constant / (4 alpha) theta^-p / (1 - noise)`, phases I and II.

    For SGD, `theta = 2 gamma2 t` and `constant = sgd_constant(p)`; where momentum dominates,
    `theta` of the momentum alone and `momentum_constant(p, ...)`. `noise` is the frozen noise gain
    (spec section 8.1) at the same steps as `theta`.
    """
    p = spectrum_exponent(alpha, beta)
    power = np.asarray(theta, dtype=np.float64) ** -p
    return constant / (4 * alpha) * power / (1 - np.asarray(noise))


def sgd_equivalent(curve: RiskCurve, sgd: RiskCurve) -> np.ndarray:
    """Return the steps at which SGD first has the risk of `curve`, for each of the curve's steps.

    float64 of shape (steps,), between SGD's recorded steps by a power law; NaN where SGD's curve
    never comes as low.
    """
    reached = np.minimum.accumulate(sgd.risk)
    first = np.concatenate([[True], np.diff(reached) < 0])
    falls = -np.log(reached[first])
    log_steps = np.log1p(sgd.steps[first].astype(np.float64))
    wanted = -np.log(curve.risk)
    steps = np.expm1(np.interp(wanted, falls, log_steps))
    return np.where(wanted <= falls[-1], steps, np.nan)
