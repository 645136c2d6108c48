"""The clock and its constants: spec/plrf.md sections 7.2, 13.4 and 13.5."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from adana.plrf import momentum
from adana.plrf.clocks import (
    clock,
    clock_rate,
    effective_step,
    leading_risk,
    momentum_constant,
    needed_delta,
    sgd_constant,
    sgd_equivalent,
)
from adana.plrf.curve import RiskCurve
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.phases import exponents, spectrum_exponent

LATE = np.array([0.0, 1e2, 1e6, 1e8])


def slope(method):
    before, after = clock(method, LATE)[-2:]
    return np.log(after / before) / np.log(LATE[-1] / LATE[-2])


def test_the_clock_of_sgd_counts_its_steps():
    np.testing.assert_allclose(clock(momentum.sgd(0.3), LATE), 0.6 * LATE, rtol=1e-12)


def test_the_clock_of_a_damped_momentum_is_its_integral():
    kappa, scale = 0.5, 0.5 * 0.3
    found = clock(momentum.dana_decaying(0.3, kappa), LATE)
    root = np.sqrt(scale) * ((1 + LATE) ** (1 - kappa / 2) - 1) / (1 - kappa / 2)
    np.testing.assert_allclose(found, 0.6 * LATE + root**2, rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.5])
def test_clocks_run_with_the_exponents_of_the_phases(alpha):
    decaying = momentum.dana_decaying(0.3, momentum.spectral_kappa(alpha))
    expected = exponents(alpha, 0.3, "DANA-decaying").clocks[-1].time
    assert slope(decaying) == pytest.approx(expected, abs=0.01)
    constant = exponents(alpha, 0.3, "DANA-constant").clocks[-1].time
    assert slope(momentum.dana_constant(0.3, 1000)) == pytest.approx(constant, abs=0.01)
    for plain in (momentum.schedule_free(0.3), momentum.log_average(0.3)):
        assert slope(plain) == pytest.approx(1, abs=0.01)


def test_a_short_memory_runs_on_the_clock_of_sgd():
    method = momentum.sgd_momentum(0.1, 0.02, forget=0.1)
    for steps in (LATE, [90.0]):
        with pytest.raises(ValueError, match=r"SGD-M forgets 0\.1 a step"):
            clock(method, steps)
    with pytest.raises(ValueError, match="AdEMAMix forgets"):
        clock(momentum.ademamix(0.5, 1000, 1.0), [3000.0])
    assert effective_step(method) == pytest.approx(0.3)


@pytest.mark.parametrize(("delta", "kappa", "p"), [(8.0, 0.5, 0.8), (4.0, 0.0, 1.2), (6, 1.0, 0.5)])
def test_the_constant_is_the_integral_of_the_modes_of_the_oscillator(delta, kappa, p):
    # X'' + ((delta + kappa)/t) X' + t^-kappa X = 0, lambda = 1: a mode depends on lambda theta
    # alone, so a power law of modes at one time is one mode over all times.
    def rates(t, state):
        return [state[1], -(delta + kappa) / t * state[1] - t**-kappa * state[0]]

    end = 400 ** (1 / (1 - kappa / 2))
    begin = 1e-3
    # the regular solution: X' = -t^(1-kappa) / (delta + 1) near t = 0
    start = [1.0, -(begin ** (1 - kappa)) / (delta + 1)]
    found = solve_ivp(rates, (begin, end), start, rtol=1e-9, atol=1e-12, dense_output=True)
    t = np.geomspace(begin, end, 200_001)
    root = t ** (1 - kappa / 2) / (1 - kappa / 2)
    mode = found.sol(t)[0]
    integral = np.trapezoid(2 * root ** (2 * p - 1) * mode**2, root) + root[0] ** (2 * p) / p
    assert momentum_constant(p, delta, kappa) == pytest.approx(integral, rel=2e-3)


def test_constants_are_those_of_the_spec():
    p = spectrum_exponent(1.0, 0.3)
    assert p == pytest.approx(0.8)
    assert clock_rate(p, 8, 0.5) == pytest.approx(0.09, abs=0.005)
    assert momentum_constant(p, 9, 0.5, averaging=True) == momentum_constant(p, 8, 0.5)


def test_short_memories_are_refused_where_they_cap_the_rate():
    # spec section 7.2: for kappa = 0, delta > 2 + (2 beta - 1)/alpha and delta > 4 - 1/alpha
    assert needed_delta(spectrum_exponent(1.2, 0.7), 0) == pytest.approx(2 + 0.4 / 1.2)
    assert needed_delta(2 - 1 / 2.4, 0) == pytest.approx(4 - 1 / 1.2)
    p = spectrum_exponent(1.0, 0.7)
    with pytest.raises(ValueError, match=r"delta must be more than 1\.55"):
        momentum_constant(p, 1.5, 0.5)
    assert np.isfinite(momentum_constant(p, 1.6, 0.5))


def test_sgd_meets_its_leading_risk():
    alpha, beta, last = 1.0, 0.3, 10**4
    spectrum = deterministic_spectrum(alpha, beta, 10**6)
    step = 0.5 / spectrum.trace
    lam, n, errors = spectrum.eigenvalues, spectrum.counts, spectrum.errors
    for _ in range(last):  # the exact recursion of spec section 3 at batch 1
        twice_risk = spectrum.twice_floor + n @ (lam * errors)
        errors = (1 - 2 * step * lam + 2 * (step * lam) ** 2) * errors
        errors = errors + step**2 * lam * twice_risk
    risk = (spectrum.twice_floor + n @ (lam * errors)) / 2
    noise = np.sum(n * step * lam / (2 - 2 * step * lam))
    theta = clock(momentum.sgd(step), [last])[0]
    p = spectrum_exponent(alpha, beta)
    assert risk == pytest.approx(  # 1.005 at t = 1e4, spec section 13.5
        1.005 * leading_risk(alpha, beta, theta, sgd_constant(p), noise), rel=0.002
    )


def test_sgd_equivalent_time_inverts_the_curve_of_sgd():
    steps = np.array([0, 10, 100, 1000, 10**4])
    sgd = RiskCurve("SGD", steps, (1.0 + steps) ** -0.8, np.zeros(5))
    fast = RiskCurve("fast", steps[:4], (1.0 + steps[:4]) ** -1.2, np.zeros(4))
    found = sgd_equivalent(fast, sgd)
    np.testing.assert_allclose(1 + found[:3], (1.0 + steps[:3]) ** 1.5, rtol=1e-12)
    assert np.isnan(found[3])


def test_sgd_equivalent_time_is_the_first_where_sgd_turns_up_again():
    sgd = RiskCurve("SGD", np.arange(5), np.array([1.0, 0.5, 0.7, 0.5, 0.25]), np.zeros(5))
    curve = RiskCurve("curve", np.arange(2), np.array([0.5, 0.25]), np.zeros(2))
    np.testing.assert_allclose(sgd_equivalent(curve, sgd), [1, 4])


def test_wrong_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be one increasing row"):
        clock(momentum.sgd(0.1), [3, 1])
