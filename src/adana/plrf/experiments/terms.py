"""Which term of the theory leads at a time, so that a slope is measured where it is meant to hold.

The risk is a sum of terms that take turns (spec/plrf.md sections 4.2 and 7). All methods run
through them in their own clock, so the risk itself says how far the clock is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import zeta

from adana.plrf.clocks import leading_risk, needed_delta, sgd_constant
from adana.plrf.curve import RiskCurve
from adana.plrf.experiments.measure import decades
from adana.plrf.momentum import default_step, sgd, spectral_kappa
from adana.plrf.phases import DECAYING, PLAIN, Exponents, spectrum_exponent
from adana.plrf.spectrum import Spectrum
from adana.plrf.stability import noise_gain
from adana.plrf.volterra import kernel_law, twice_distortion_law

SMALL_FLOOR, SMALL_DISTORTION = 0.01, 0.05
"""Shares of the risk up to which the later terms hardly disturb a slope."""
LARGE = 0.8
"""Share of the risk from which on a term sets the slope."""


@dataclass(frozen=True)
class Shares:
    """Shares of the risk that the distortion F_ac and the floor are expected to have."""

    distortion: float
    floor: float


def shares(spectrum: Spectrum, alpha: float, beta: float, risk: float) -> Shares:
    """Return the shares at a time when the risk is `risk`, above the floor.

    The clock is the one at which the leading power law and the distortion's add up to the risk
    above the floor. Gradient noise counts as part of the leading term, which makes the distortion
    seem larger than it is while noise leads (phase III).
    """
    above = 2 * risk - spectrum.twice_floor
    if above <= 0:
        return Shares(0.0, 1.0)
    floor = spectrum.twice_floor / (2 * risk)
    if min(alpha, beta) <= 0.5:
        return Shares(0.0, floor)
    norm, constant = float(zeta(2 * beta)), sgd_constant(spectrum_exponent(alpha, beta))

    def distortion(theta: float) -> float:
        return float(twice_distortion_law(alpha, norm, spectrum.dimension, theta))

    def excess(log_theta: float) -> float:
        theta = np.exp(log_theta)
        leading = 2 * float(leading_risk(alpha, beta, theta, constant))
        return float(np.log((leading + distortion(theta)) / above))

    theta = float(np.exp(brentq(excess, -60.0, 200.0)))
    return Shares(distortion(theta) / (2 * risk), floor)


def noise_level(spectrum: Spectrum, theory: Exponents, batch: float = 1) -> float:
    """Return the risk P above the floor at which gradient noise takes over from F_pp in phase III.

    Where SGD's kernel times the sum of its risks so far, K_pp, is as large as F_pp, at the default
    step (spec/plrf.md section 4.2). Taken for DANA too, whose constants differ by a factor.
    Infinite in the other phases, where no noise has to take over.
    """
    if theory.phase != "III":
        return float("inf")
    alpha, beta = theory.alpha, theory.beta
    step = default_step(spectrum.trace, batch)
    constant = sgd_constant(spectrum_exponent(alpha, beta))
    echo = 1 - float(noise_gain(spectrum, sgd(step), batch=batch, steps=0.0))

    def leading(theta: float) -> float:
        return 2 * float(leading_risk(alpha, beta, theta, constant))

    def excess(log_theta: float) -> float:
        theta = float(np.exp(log_theta))
        learned = -np.expm1(-spectrum.eigenvalues * theta)
        past = float((spectrum.counts * spectrum.errors) @ learned) / (2 * step) / echo
        noise = float(kernel_law(alpha, step, batch, theta / (2 * step))) * past
        return float(np.log(noise / leading(theta)))

    theta = float(np.exp(brentq(excess, -60.0, 200.0)))
    return leading(theta) / echo  # P = (F_pp + K_pp) / 2, both with the echo of their own noise


def leading_decade(
    spectrum: Spectrum, theory: Exponents, found: RiskCurve, first: int, *, batch: float = 1
) -> tuple[float, float] | None:
    """Return the last whole decade from `10^first` on in which the leading term stands alone.

    The later terms are small at its end and, in phase III, gradient noise has taken over from F_pp
    by its start. None if there is none, or where the later term is gradient noise (phase IV), whose
    share is not estimated here.
    """
    chosen = None
    if theory.phase.startswith("IV"):
        return None
    level = noise_level(spectrum, theory, batch)
    for start, end in decades(first, float(found.steps[-1])):
        at = shares(spectrum, theory.alpha, theory.beta, found.at(end))
        alone = at.distortion <= SMALL_DISTORTION and at.floor <= SMALL_FLOOR
        if alone and found.at(start) - spectrum.floor <= level:
            chosen = (start, end)
    return chosen


def too_short_memory(theory: Exponents, delta: float) -> float | None:
    """Return the delta that a method's exponent in time needs, where `delta` is not above it.

    None where the memory is long enough, and for methods that run on the clock of SGD.
    """
    if theory.alpha <= 0.5 or theory.algorithm in PLAIN:
        return None
    kappa = spectral_kappa(theory.alpha) if theory.algorithm in DECAYING else 0.0
    averaging = theory.algorithm == "damped average"
    needed = needed_delta(theory.terms[0].clock, kappa, averaging=averaging)
    return needed if delta <= needed else None


def distorted_decade(
    spectrum: Spectrum, theory: Exponents, found: RiskCurve, first: int
) -> tuple[float, float] | None:
    """Return the last whole decade in which the distortion leads and the floor is small."""
    chosen = None
    for start, end in decades(first, float(found.steps[-1])):
        before = shares(spectrum, theory.alpha, theory.beta, found.at(start))
        after = shares(spectrum, theory.alpha, theory.beta, found.at(end))
        if before.distortion >= LARGE and after.floor <= SMALL_FLOOR:
            chosen = (start, end)
    return chosen


def slopes_in_words(theory: Exponents) -> str:
    """Return the exponents in time one after another, as `-0.8, then -1.6`."""
    leading = [theory.terms[0].clock * clock.time for clock in theory.clocks]
    later = [term.clock * theory.clocks[-1].time for term in theory.terms[1:]]
    return ", then ".join(f"{-exponent:.3g}" for exponent in [*leading, *later])
