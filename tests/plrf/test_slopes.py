"""Measured slopes of risks, forcings and kernels against the exponents, in every phase."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from adana.plrf.blocks import integrate
from adana.plrf.clock import clock, leading_risk, momentum_constant, sgd_equivalent
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.momentum import (
    damped_average,
    dana_constant,
    dana_decaying,
    default_step,
    sgd,
    sgd_momentum,
    spectral_kappa,
)
from adana.plrf.phases import exponents, phase, spectrum_exponent
from adana.plrf.stability import noise_gain
from adana.plrf.volterra import kernel, volterra


@functools.cache
def spectrum_of(alpha, beta, dimension=10**7):
    return deterministic_spectrum(alpha, beta, dimension)


@functools.cache
def curve_of(alpha, beta, name, total_steps=10**8):
    spectrum = spectrum_of(alpha, beta)
    step = default_step(spectrum.trace)
    method = {
        "SGD": sgd(step),
        "SGD-M": sgd_momentum(step / 2, 0.05 * step),
        "DANA-constant": dana_constant(step, spectrum.dimension),
        "DANA-decaying": dana_decaying(step, spectral_kappa(alpha), gain=1),
    }[name]
    return integrate(spectrum, method, batch=1, total_steps=total_steps)


def slope(steps, values, start):
    """Slope in logarithms over the decade from `start`."""
    ends = np.interp(np.log([start, 10 * start]), np.log(steps[1:]), np.log(values[1:]))
    return (ends[1] - ends[0]) / np.log(10)


@pytest.mark.parametrize(
    ("alpha", "beta", "name", "decade", "tolerance"),
    [
        (1.0, 0.3, "SGD", 1e5, 2e-3),
        (0.8, 0.25, "SGD", 1e5, 2e-3),
        (1.0, 0.7, "SGD", 1e5, 5e-3),
        (1.0, 1.3, "SGD", 1e4, 0.03),
        (0.7, 1.2, "SGD", 1e3, 0.03),
        (1.0, 0.3, "DANA-decaying", 1e5, 0.012),
        (0.8, 0.25, "DANA-decaying", 1e5, 0.03),
        (1.0, 0.7, "DANA-decaying", 1e4, 0.015),
        (1.0, 1.3, "DANA-decaying", 1e4, 0.12),  # still approaching 2.25 at d = 1e7
    ],
)
def test_risks_fall_with_the_leading_exponent_above_the_line(alpha, beta, name, decade, tolerance):
    curve = curve_of(alpha, beta, name)
    expected = exponents(alpha, beta, name).time
    assert slope(curve.steps, curve.risk, decade) == pytest.approx(-expected, abs=tolerance)


@pytest.mark.parametrize(
    ("beta", "name", "decade", "slope_there"),
    [
        (1.3, "SGD", 1e8, -0.5),
        (1.3, "DANA-decaying", 1e7, -0.75),
        (0.7, "DANA-decaying", 1e8, -0.75),
    ],
)
def test_the_distortion_of_the_target_takes_over_at_late_times(beta, name, decade, slope_there):
    curve = curve_of(1.0, beta, name, 10**9)
    terms = exponents(1.0, beta, name).terms
    assert [term.name for term in terms][-1] == "F_ac"
    assert slope(curve.steps, curve.risk, decade) == pytest.approx(slope_there, abs=0.03)


@pytest.mark.parametrize("beta", [0.3, 0.7])
def test_momentum_of_constant_memory_has_the_slopes_of_sgd(beta):
    for decade in (1e4, 1e5, 1e6):
        slopes = [
            slope(curve.steps, curve.risk, decade)
            for curve in (curve_of(1.0, beta, name) for name in ("SGD", "SGD-M"))
        ]
        assert slopes[0] == pytest.approx(slopes[1], abs=2.5e-3)


def test_dana_constant_turns_from_the_slope_of_sgd_to_twice_it():
    spectrum = spectrum_of(1.0, 0.3)
    method = dana_constant(default_step(spectrum.trace), spectrum.dimension)
    curve = integrate(spectrum, method, batch=1, total_steps=10**10)
    slopes = [slope(curve.steps, curve.risk, 10.0**decade) for decade in range(5, 10)]
    np.testing.assert_allclose(slopes, [-0.801, -0.808, -0.874, -1.182, -1.452], atol=0.01)


@pytest.mark.parametrize(
    ("alpha", "beta", "decade", "measured"),
    [(1.0, 0.3, 1e5, 1.489), (0.8, 0.25, 1e5, 1.338), (1.0, 0.7, 1e5, 1.494)],
)
def test_sgd_needs_a_power_of_danas_steps(alpha, beta, decade, measured):
    curve = curve_of(alpha, beta, "DANA-decaying")
    steps = sgd_equivalent(curve, curve_of(alpha, beta, "SGD", 10**9))
    exponent = slope(curve.steps, steps, decade)
    assert exponent == pytest.approx(measured, abs=2e-3)  # spec/plrf.md section 13.4
    assert exponent == pytest.approx(2 - 1 / (2 * alpha), abs=0.04)


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
    spectrum = spectrum_of(alpha, beta, 10**9)
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


@pytest.mark.parametrize(
    ("alpha", "beta", "delta", "averaging", "ratios"),
    [
        (1.0, 0.3, 8, False, [0.947, 0.989, 1.012]),
        (1.0, 0.3, 4, False, [0.985, 1.011, 1.033]),
        (0.8, 0.25, 8, False, [0.829, 0.922, 0.996]),
        (1.3, 0.4, 8, False, [0.991, 1.007, 1.014]),
        (1.0, 0.3, 8, True, [0.952, 0.989, 1.005]),
    ],
)
def test_the_risk_of_dana_approaches_its_constant_over_what_the_noise_leaves(
    alpha, beta, delta, averaging, ratios
):
    spectrum = spectrum_of(alpha, beta)
    kappa = spectral_kappa(alpha)
    if averaging:
        method = damped_average(0.1 / spectrum.trace, kappa, gain=0.5 / delta, delta=delta)
    else:
        method = dana_decaying(0.5 / spectrum.trace, kappa, delta=delta)
    times = np.array([1e5, 1e6, 1e7])
    curve = integrate(spectrum, method, batch=1, total_steps=10**7)
    momentum_alone = replace(method, gamma2=lambda t: 0 * t)
    theta = clock(momentum_alone, times)
    constant = momentum_constant(spectrum_exponent(alpha, beta), delta, kappa, averaging=averaging)
    noise = noise_gain(spectrum, method, batch=1, steps=times)
    expected = leading_risk(alpha, beta, theta, constant, noise)
    risks = np.array([curve.at(time) for time in times])
    np.testing.assert_allclose(risks / expected, ratios, atol=0.01)
