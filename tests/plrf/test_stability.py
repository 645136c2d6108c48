"""Noise gains, thresholds and bounds, against closed forms and against where curves diverge."""

from dataclasses import replace

import numpy as np
import pytest

from adana.plrf.blocks import integrate
from adana.plrf.moments import moment_change
from adana.plrf.momentum import dana_decaying, log_nesterov, sgd, sgd_momentum
from adana.plrf.recursion import exact_moments
from adana.plrf.spectrum import Spectrum
from adana.plrf.stability import (
    critical_value,
    effective_directions,
    gain_crossing,
    lipschitz_bound,
    momentum_bound,
    noise_gain,
    sgd_threshold,
    stationary_risk,
)
from tests.plrf.spectra import grouped_power_law, power_law


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_the_gain_of_sgd_is_its_kernels_mass(batch):
    spectrum = power_law()
    x = 0.3 * spectrum.eigenvalues
    mass = (x / (2 * batch - x * (batch + 1))).sum()
    gain = noise_gain(spectrum, sgd(0.3), batch=batch, steps=[0, 5, 1e6])
    np.testing.assert_allclose(gain, mass, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("method", [sgd(0.1), sgd_momentum(0.05, 0.005)], ids=lambda m: m.name)
def test_constant_methods_settle_at_the_stationary_risk(method, batch):
    spectrum = power_law(100, alpha=0.4, beta=0.8, twice_floor=0.1)
    curve = integrate(spectrum, method, batch=batch, total_steps=10**6)
    expected = stationary_risk(spectrum, method, batch=batch)
    assert expected > spectrum.floor
    assert curve.risk[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 4, 32, float("inf")])
@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_sgd_diverges_above_its_threshold_and_not_below(alpha, batch):
    spectrum = grouped_power_law(1000, alpha=alpha, groups=60)
    threshold = sgd_threshold(spectrum, batch)
    if np.isfinite(batch):
        gain = noise_gain(spectrum, sgd(threshold), batch=batch, steps=0)
        assert gain == pytest.approx(1, rel=1e-9)
    below, above = (
        integrate(spectrum, sgd(factor * threshold), batch=batch, total_steps=10**7)
        for factor in (0.98, 1.02)
    )
    assert not below.diverged
    assert below.risk[-1] < 0.1 * spectrum.start
    assert above.diverged
    assert np.isinf(stationary_risk(spectrum, sgd(1.02 * threshold), batch=batch))


def test_the_number_of_effective_directions_grows_as_time_to_the_spectral_dimension():
    spectrum = grouped_power_law(2 * 10**6, alpha=1.0, groups=1000)
    times = np.array([1e4, 1e5])
    expected = (0.3 * times / 8) ** 0.5 * (np.pi / 2)
    counted = effective_directions(spectrum, np.full(2, 0.3), 8 / (8 + times))
    np.testing.assert_allclose(counted, expected, rtol=0.02)
    assert effective_directions(spectrum, 0.3, 0.0) == pytest.approx(spectrum.dimension)


def test_the_bound_on_the_momentum_is_where_the_gain_is_one_for_small_steps():
    spectrum = grouped_power_law(10**5)
    method = dana_decaying(0.02, 0.5)
    bound = float(momentum_bound(spectrum, method, batch=1, steps=1e5))
    at_bound = sgd_momentum(0.02, 0.02 * bound, forget=8 / (8 + 1e5))
    assert noise_gain(spectrum, at_bound, batch=1, steps=0) == pytest.approx(1, rel=0.05)


def test_no_batch_helps_beyond_the_lipschitz_bound():
    spectrum = power_law()
    bound = float(lipschitz_bound(spectrum, sgd_momentum(0.1, 0.0), steps=0))
    for factor, stable in ((0.99, True), (1.01, False)):
        method = sgd_momentum(0.1, factor * bound / 1.0, forget=0.1)
        gain = noise_gain(spectrum, method, batch=float("inf"), steps=0)
        assert gain == (0 if stable else np.inf)
        curve = exact_moments(spectrum, method, batch=float("inf"), steps=[0, 3000])
        assert curve.diverged is not stable


def test_a_larger_batch_delays_the_crossing_of_undamped_momentum():
    spectrum = grouped_power_law(10**5)
    times = [
        gain_crossing(spectrum, log_nesterov(0.05), batch=batch, total_steps=1e7)
        for batch in (16, 64, 256)
    ]
    ratios = np.array(times[1:]) / times[:-1]
    np.testing.assert_allclose(ratios, 16, rtol=0.12)  # the law B^(2 alpha), with alpha = 1
    for batch, time in zip((16, 64, 256), times, strict=True):
        around = noise_gain(spectrum, log_nesterov(0.05), batch=batch, steps=[time / 1.01, time])
        assert around[0] < 1 <= around[1]
    full = gain_crossing(spectrum, log_nesterov(0.05), batch=float("inf"), total_steps=1e7)
    assert full == np.inf


def test_a_method_unstable_from_the_start_crosses_at_zero():
    assert gain_crossing(power_law(), sgd(3.0), batch=1, total_steps=1e3) == 0


@pytest.mark.parametrize(
    ("low", "high", "name"), [(2, 3, "low must be stable"), (0.1, 0.2, "high must diverge")]
)
def test_a_critical_value_must_lie_between_its_ends(low, high, name):
    with pytest.raises(ValueError, match=name):
        critical_value(lambda x: x > 1, low, high)


def test_directions_slower_than_rounding_are_stable():
    spectrum = power_law(3)
    slow = Spectrum(np.append(spectrum.eigenvalues, [1e-25, 0]), np.ones(5), np.ones(5), 0.0)
    for method in (sgd(0.3), dana_decaying(0.3, 0.5)):
        with_it, without = (
            noise_gain(s, method, batch=1, steps=[3, 1e4])
            for s in (slow, replace(slow, counts=[1, 1, 1, 0, 0]))
        )
        np.testing.assert_allclose(with_it, without, rtol=1e-6)
        assert (without < 1).all()


def test_stability_is_a_spectral_radius_below_one():
    rng = np.random.default_rng(0)
    radii = []
    for _ in range(300):
        step, momentum_step, forget = rng.uniform([0, 0, 0], [1.6, 0.6, 1])
        method = sgd_momentum(step, momentum_step, forget=forget)
        one = Spectrum(np.ones(1), np.ones(1), np.ones(1), 0.0)
        change = moment_change(method.at(0), one.eigenvalues, 2.0).change[..., 0]
        radii.append(np.abs(np.linalg.eigvals(change + np.eye(3))).max())
        gain = noise_gain(one, method, batch=2, steps=0)
        assert np.isfinite(gain) == (radii[-1] < 1)
    assert 30 < np.sum(np.array(radii) < 1) < 270


def test_huge_batches_have_the_threshold_of_the_full_gradient():
    spectrum = power_law()
    assert sgd_threshold(spectrum, 1e14) == pytest.approx(2, rel=1e-10)
    assert sgd_threshold(spectrum, 1e6) == pytest.approx(2, rel=1e-4)
