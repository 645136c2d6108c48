"""The Volterra equation: its parts in closed form for SGD, its solution against the recursion."""

import numpy as np
import pytest

from adana.plrf.blocks import integrate
from adana.plrf.clocks import leading_risk, sgd_constant
from adana.plrf.momentum import damped_average, dana_decaying, log_nesterov, sgd
from adana.plrf.phases import spectrum_exponent
from adana.plrf.recursion import exact_moments
from adana.plrf.stability import noise_gain
from adana.plrf.volterra import kernel, kernel_law, twice_distortion_law, volterra
from tests.plrf.spectra import grouped_power_law, power_law

STEP, BATCH = 0.3, 2


def forcing_law(alpha, beta, clock):
    constant = sgd_constant(spectrum_exponent(alpha, beta))
    return 2 * leading_risk(alpha, beta, 2 * clock, constant)


def contraction(spectrum):
    x = STEP * spectrum.eigenvalues
    return 1 - 2 * x + x**2 * (BATCH + 1) / BATCH


def test_the_forcing_of_sgd_is_its_closed_form():
    spectrum = power_law()
    equation = volterra(spectrum, sgd(STEP), batch=BATCH, total_steps=3000)
    for step, forcing in zip(equation.steps, equation.twice_forcing, strict=True):
        left = contraction(spectrum) ** step
        expected = spectrum.twice_floor + (spectrum.eigenvalues * spectrum.errors) @ left
        assert forcing == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("source", [0, 7, 5000])
def test_the_kernel_of_sgd_is_its_closed_form(source):
    spectrum = power_law()
    steps, values = kernel(
        spectrum, sgd(STEP), batch=BATCH, source=source, total_steps=source + 2000
    )
    assert steps[0] == source + 1
    assert steps[-1] == source + 2000
    ages = contraction(spectrum) ** (steps[:, None] - source - 1)
    expected = STEP**2 / BATCH * ages @ spectrum.eigenvalues**2
    np.testing.assert_allclose(values, expected, rtol=1e-10)


@pytest.mark.parametrize(
    "method", [dana_decaying(0.3, 0.5), damped_average(0.3, 0.5, gain=1 / 16)], ids=lambda m: m.name
)
def test_summing_the_kernel_over_past_risks_gives_the_recursion(method):
    spectrum, total = power_law(), 40
    exact = exact_moments(spectrum, method, batch=BATCH, steps=np.arange(total + 1))
    equation = volterra(spectrum, method, batch=BATCH, total_steps=total, block=1e-9)
    twice_risk = equation.twice_forcing.copy()
    for source in range(total):
        steps, values = kernel(
            spectrum, method, batch=BATCH, source=source, total_steps=total, block=1e-9
        )
        np.testing.assert_allclose(equation.weights[steps, source], values, rtol=1e-9)
        twice_risk[steps] += values * twice_risk[source]
    np.testing.assert_allclose(twice_risk, 2 * exact.risk, rtol=1e-11)
    np.testing.assert_allclose(equation.twice_risk(), 2 * exact.risk, rtol=1e-11)


def test_on_blocks_the_equation_has_the_integrators_solution():
    spectrum = grouped_power_law(10**4, twice_floor=1e-8, groups=60)
    method = dana_decaying(0.3, 0.5)
    equation = volterra(spectrum, method, batch=1, total_steps=10**6)
    curve = integrate(spectrum, method, batch=1, total_steps=10**6)
    np.testing.assert_array_equal(equation.steps, curve.steps)
    np.testing.assert_allclose(equation.twice_risk(), 2 * curve.risk, rtol=1e-10)


def test_the_late_weights_of_sgd_sum_to_its_noise_gain():
    equation = volterra(power_law(), sgd(STEP), batch=BATCH, total_steps=10**5)
    gain = noise_gain(power_law(), sgd(STEP), batch=BATCH, steps=0)
    assert equation.weights[-1].sum() == pytest.approx(gain, rel=1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.3), (0.8, 0.25), (1.3, 0.9)])
def test_forcing_and_kernel_of_sgd_follow_their_power_laws(alpha, beta):
    spectrum = grouped_power_law(10**6, alpha=alpha, beta=beta, groups=600)
    equation = volterra(spectrum, sgd(STEP), batch=BATCH, total_steps=10**5)
    late = equation.steps > 10**4
    law = forcing_law(alpha, beta, STEP * equation.steps[late])
    np.testing.assert_allclose(equation.twice_forcing[late], law, rtol=0.01)
    steps, values = kernel(spectrum, sgd(STEP), batch=BATCH, source=0, total_steps=10**5)
    late = steps > 10**4
    law = kernel_law(alpha, STEP, BATCH, steps[late])
    np.testing.assert_allclose(values[late], law, rtol=0.01)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.3), (0.8, 0.25)])
def test_the_risk_of_sgd_is_its_forcing_over_what_the_noise_leaves(alpha, beta):
    spectrum = grouped_power_law(10**6, alpha=alpha, beta=beta, groups=300)
    step = 0.5 / spectrum.trace
    curve = integrate(spectrum, sgd(step), batch=1, total_steps=10**6)
    kept = 1 - noise_gain(spectrum, sgd(step), batch=1, steps=0)
    ratio = 2 * curve.risk[-1] * kept / forcing_law(alpha, beta, step * 1e6)
    assert ratio == pytest.approx(1, abs=0.01)


def test_the_distortion_is_the_forcing_of_equal_errors_in_all_directions():
    dimension, norm = 2 * 10**6, 1.7
    flat = grouped_power_law(dimension, alpha=0.9, beta=0.0, groups=400)
    equation = volterra(flat, sgd(STEP), batch=BATCH, total_steps=10**4)
    expected = equation.twice_forcing[-1] * norm / dimension
    law = twice_distortion_law(0.9, norm, dimension, 2 * STEP * 1e4)
    assert law == pytest.approx(expected, rel=0.01)


def test_laws_of_powers_are_refused_where_they_do_not_hold():
    for alpha in (0.4, 0.5):
        with pytest.raises(ValueError, match="alpha must be"):
            twice_distortion_law(alpha, 1.0, 100, 10.0)
    with pytest.raises(ValueError, match="alpha must be"):
        kernel_law(0.25, 0.1, 1, 10.0)


def test_a_method_that_overflows_is_named():
    with pytest.raises(ValueError, match=r"undamped Nesterov diverges by step \d+"):
        volterra(power_law(), log_nesterov(1.0), batch=1, total_steps=10**6)
    with pytest.raises(ValueError, match=r"undamped Nesterov diverges by step \d+"):
        kernel(power_law(), log_nesterov(1.0), batch=1, source=0, total_steps=10**6)


@pytest.mark.parametrize("source", [-1, 10])
def test_the_source_of_a_kernel_lies_before_its_end(source):
    with pytest.raises(ValueError, match=r"source|total_steps"):
        kernel(power_law(), sgd(0.3), batch=1, source=source, total_steps=10)


def test_blocks_out_of_range_are_named():
    with pytest.raises(ValueError, match="block"):
        volterra(power_law(), sgd(0.3), batch=1, total_steps=10, block=0.0)
