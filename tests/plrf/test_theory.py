"""Exponents, clocks and constants against the expected risk they describe.

Expected risks are those of the deterministic equivalent in the block integrator; their slopes in a
decade, constants and equivalent times are compared with theory (spec/plrf.md sections 7.1, 7.2,
13.4 and 13.5). Below 2 alpha = 1 no decade is free of the neighbouring terms at any d that can be
computed: there each term is measured by itself, and momentum must gain nothing.
"""

from functools import cache

import numpy as np
import pytest

from adana.plrf import momentum
from adana.plrf.blocks import integrate
from adana.plrf.clocks import (
    clock,
    leading_risk,
    momentum_constant,
    sgd_constant,
    sgd_equivalent,
)
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.momentum import default_step, sgd, spectral_kappa
from adana.plrf.phases import exponents, phase, spectrum_exponent
from adana.plrf.stability import noise_gain
from adana.plrf.volterra import kernel, volterra

spectrum_of = cache(deterministic_spectrum)


def named(algorithm, step, alpha, dimension, gain=1.0):
    match algorithm:
        case "SGD":
            return momentum.sgd(step)
        case "SGD-M":
            return momentum.sgd_momentum(step / 2, 0.05 * step, forget=0.1)
        case "DANA-constant":
            return momentum.dana_constant(step, dimension, gain=gain)
        case "DANA-decaying":
            return momentum.dana_decaying(step, spectral_kappa(alpha), gain=gain)
    raise AssertionError(algorithm)


@cache
def curve(alpha, beta, algorithm, dimension=10**7, gain=1.0, total_steps=10**10):
    spectrum = spectrum_of(alpha, beta, dimension)
    method = named(algorithm, 0.5 / spectrum.trace, alpha, dimension, gain)
    return integrate(spectrum, method, batch=1, total_steps=total_steps)


def fall(found, decade):
    """Exponent of the fall from 10^decade to ten times that."""
    return np.log10(found.at(10.0**decade) / found.at(10.0 ** (decade + 1)))


@pytest.mark.parametrize(
    ("point", "algorithm", "decade", "term", "tolerance"),
    [
        ((1.0, 0.3), "SGD", 4, 0, 0.003),
        ((1.0, 0.3), "SGD-M", 4, 0, 0.003),
        ((0.8, 0.25), "SGD", 5, 0, 0.003),
        ((0.8, 0.25), "DANA-decaying", 5, 0, 0.03),
        ((1.0, 0.3), "DANA-decaying", 6, 0, 0.01),
        ((1.0, -0.3), "SGD", 3, 0, 0.005),
        ((1.0, -0.3), "DANA-decaying", 4, 0, 0.005),
        ((1.3, 0.4), "DANA-decaying", 5, 0, 0.005),
        ((1.0, 0.7), "SGD", 5, 0, 0.005),
        ((1.0, 0.7), "SGD-M", 5, 0, 0.005),
        ((1.0, 0.7), "DANA-decaying", 4, 0, 0.015),
        ((1.0, 0.7), "DANA-decaying", 8, 1, 0.03),
        ((0.7, 1.2), "SGD", 3, 0, 0.03),
        ((1.0, 1.3), "SGD", 4, 0, 0.03),
        ((1.0, 1.3), "SGD", 9, 1, 0.01),
        ((1.0, 1.3), "DANA-decaying", 4, 0, 0.12),  # -2.25 expected, still steepening
        ((1.0, 1.3), "DANA-decaying", 7, 1, 0.01),
    ],
)
def test_the_risk_falls_with_the_terms_exponents(point, algorithm, decade, term, tolerance):
    theory = exponents(*point, algorithm)
    expected = theory.terms[term].clock * theory.clocks[-1].time
    assert fall(curve(*point, algorithm), decade) == pytest.approx(expected, abs=tolerance)


def test_dana_constant_departs_from_sgd_and_meets_its_own_exponent_later():
    found = curve(1.0, 0.3, "DANA-constant", gain=0.5)
    falls = [fall(found, decade) for decade in range(5, 10)]
    np.testing.assert_allclose(falls, [0.801, 0.808, 0.874, 1.182, 1.452], atol=0.01)
    assert falls[0] == pytest.approx(exponents(1.0, 0.3, "SGD").time, abs=0.01)
    assert falls[-1] < exponents(1.0, 0.3, "DANA-constant").time


def slope(steps, values, start):
    """Slope in logarithms over the decade from `start`."""
    ends = np.interp(np.log([start, 10 * start]), np.log(steps[1:]), np.log(values[1:]))
    return (ends[1] - ends[0]) / np.log(10)


@pytest.mark.parametrize(
    ("alpha", "beta", "name", "tolerance"),
    [
        (0.4, 0.2, "Ib", 0.02),
        (0.4, 0.8, "IVa", 0.06),
        (0.45, 0.8, "IVa", 0.04),
        (0.27, 0.8, "IVb", 0.15),  # d^(2 alpha) leaves less than two decades of slope
    ],
)
def test_forcing_and_kernel_fall_with_their_exponents_below_the_line(alpha, beta, name, tolerance):
    spectrum = deterministic_spectrum(alpha, beta, 10**9)
    assert phase(alpha, beta) == name
    step = default_step(spectrum.trace)
    first = 1 / step  # the largest eigenvalues are learned from here on
    total = round(20 * first)
    equation = volterra(spectrum, sgd(step), batch=1, total_steps=total)
    forcing = equation.twice_forcing - spectrum.twice_floor
    expected = -spectrum_exponent(alpha, beta)
    assert slope(equation.steps, forcing, first) == pytest.approx(expected, abs=tolerance)
    steps, values = kernel(spectrum, sgd(step), batch=1, source=0, total_steps=total)
    assert slope(steps, values, first) == pytest.approx(1 / (2 * alpha) - 2, abs=tolerance)


@pytest.mark.parametrize(("beta", "tolerance"), [(0.8, 0.02), (0.6, 0.002)])
def test_in_phase_ic_the_forcing_falls_with_its_exponent_once_d_is_astronomical(beta, tolerance):
    """The eigenvalues span `d^(2 alpha)`: only with d = 1e14 is a decade free of both ends."""
    assert phase(0.24, beta) == "Ic"
    spectrum = deterministic_spectrum(0.24, beta, 10**14)
    step = default_step(spectrum.trace)
    first = 10 / step
    equation = volterra(spectrum, sgd(step), batch=1, total_steps=round(20 * first))
    forcing = equation.twice_forcing - spectrum.twice_floor
    expected = -spectrum_exponent(0.24, beta)
    assert slope(equation.steps, forcing, first) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("alpha", "beta"), [(0.4, 0.2), (0.27, 0.8)])
def test_below_the_high_dimensional_line_momentum_gains_nothing(alpha, beta):
    plain = curve(alpha, beta, "SGD", total_steps=10**8)
    damped = curve(alpha, beta, "DANA-decaying", gain=0.5, total_steps=10**8)
    for step in 10.0 ** np.arange(1, 9):
        assert 0.75 < damped.at(step) / plain.at(step) < 1.1


@pytest.mark.parametrize(
    ("point", "decades"),
    [
        ((1.0, 0.3), {2: 1.328, 3: 1.417, 4: 1.468, 5: 1.489, 6: 1.496}),
        ((0.8, 0.25), {2: 1.155, 3: 1.237, 4: 1.300, 5: 1.338, 6: 1.354}),
        ((1.0, 0.7), {3: 1.448, 4: 1.488, 5: 1.494}),
    ],
)
def test_sgd_equivalent_time_grows_as_the_clock(point, decades):
    faster = curve(*point, "DANA-decaying", total_steps=10**7)
    times = sgd_equivalent(faster, curve(*point, "SGD", total_steps=10**11))

    def at(step):
        return np.exp(np.interp(np.log(step), np.log(faster.steps[1:]), np.log(times[1:])))

    for decade, slope in decades.items():
        grown = np.log10(at(10.0 ** (decade + 1)) / at(10.0**decade))
        assert grown == pytest.approx(slope, abs=0.006)
    assert grown == pytest.approx(exponents(*point, "DANA-decaying").clocks[-1].time, abs=0.025)


@pytest.mark.parametrize(
    ("point", "batch", "fraction", "gain", "delta", "ratios"),
    [
        ((1.0, 0.3), 1, 0.5, 0.5, 8, (0.947, 0.989, 1.012)),
        ((1.0, 0.3), 1, 0.5, 0.5, 4, (0.985, 1.011, 1.033)),
        ((1.0, 0.3), 16, 0.02, 1.0, 8, (0.970, 0.993, 1.011)),
        ((0.8, 0.25), 1, 0.5, 0.5, 8, (0.829, 0.922, 0.996)),
        ((1.3, 0.4), 1, 0.5, 0.5, 8, (0.991, 1.007, 1.014)),
    ],
)
def test_dana_meets_the_constant_of_its_leading_term(point, batch, fraction, gain, delta, ratios):
    spectrum = spectrum_of(*point, 10**7)
    step, kappa = fraction * batch / spectrum.trace, spectral_kappa(point[0])
    method = momentum.dana_decaying(step, kappa, gain=gain, delta=delta)
    constant = momentum_constant(spectrum_exponent(*point), delta, kappa)
    assert_meets(spectrum, method, batch, point, constant, ratios)


def test_averaging_takes_one_from_delta():
    spectrum = spectrum_of(1.0, 0.3, 10**7)
    method = momentum.damped_average(0.1 / spectrum.trace, 0.5, gain=0.5 / 8)
    constant = momentum_constant(0.8, 8, 0.5, averaging=True)
    assert_meets(spectrum, method, 1, (1.0, 0.3), constant, (0.952, 0.989, 1.005))


def assert_meets(spectrum, method, batch, point, constant, ratios):
    """Compare with ratios of spec section 13.5 at t = 1e5, 1e6, 1e7."""
    steps = np.array([1e5, 1e6, 1e7])
    theta = clock(method, steps) - 2 * method.at(steps).gamma2 * steps
    noise = noise_gain(spectrum, method, batch=batch, steps=steps)
    expected = leading_risk(*point, theta, constant, noise)
    found = integrate(spectrum, method, batch=batch, total_steps=10**7, block=0.02)
    np.testing.assert_allclose([found.at(s) for s in steps] / expected, ratios, atol=0.003)


def test_sgd_meets_the_constant_of_its_leading_term():
    spectrum = spectrum_of(1.0, 0.3, 10**7)
    method = momentum.sgd(0.5 / spectrum.trace)
    noise = noise_gain(spectrum, method, batch=1, steps=0)
    steps = np.array([1e3, 1e4, 1e5, 1e6])
    expected = leading_risk(1.0, 0.3, clock(method, steps), sgd_constant(0.8), noise)
    found = [curve(1.0, 0.3, "SGD").at(step) for step in steps]
    np.testing.assert_allclose(found / expected, [1.013, 1.005, 1.002, 1.001], atol=0.002)


def test_a_short_memory_caps_the_rate():
    spectrum = spectrum_of(1.0, 0.7, 10**7)
    falls = {}
    for delta in (1.0, 1.5, 2.0, 8.0):
        method = momentum.dana_decaying(0.5 / spectrum.trace, 0.5, gain=1.0, delta=delta)
        falls[delta] = fall(integrate(spectrum, method, batch=1, total_steps=10**5), 4)
    assert 1.15 < falls[1.0] < 1.25  # the cap is delta + kappa/2
    assert falls[1.5] == pytest.approx(1.61, abs=0.03)
    assert falls[2.0] == pytest.approx(1.8, abs=0.05)
    assert falls[8.0] == pytest.approx(1.8, abs=0.05)
