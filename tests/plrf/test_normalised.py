"""Adaptive methods in expectation: against the update per step, and their noise floor."""

import numpy as np
import pytest

from adana.plrf.momentum import sgd
from adana.plrf.normalised import gradient_scale, integrate_normalised, normalised_adana
from adana.plrf.recursion import exact_moments
from adana.plrf.stability import sgd_threshold
from tests.plrf.spectra import grouped_power_law, power_law


def test_the_scale_is_the_mean_square_entry_of_drawn_gradients():
    spectrum = power_law(8, twice_floor=0.05)
    batch, draws = 3, 40_000
    rng = np.random.default_rng(0)
    features = rng.normal(size=(draws, batch, 8)) * np.sqrt(spectrum.eigenvalues)
    errors = features @ np.sqrt(spectrum.errors)
    residuals = errors + np.sqrt(spectrum.twice_floor) * rng.normal(size=(draws, batch))
    gradients = (features * residuals[..., None]).mean(axis=1)
    state = np.stack([spectrum.errors, 0 * spectrum.errors, 0 * spectrum.errors])
    expected = np.sqrt((gradients**2).mean())
    assert gradient_scale(spectrum, state, batch) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("scale", ["gradient", "risk"])
@pytest.mark.parametrize("method", [normalised_adana(2e-3, 0.75), sgd(2e-3)], ids=lambda m: m.name)
def test_blocks_follow_the_scale_that_is_updated_every_step(method, scale):
    spectrum = grouped_power_law(1000, twice_floor=1e-6, groups=30)
    curve, every_step = (
        integrate_normalised(spectrum, method, batch=8, total_steps=1000, scale=scale, block=block)
        for block in (0.05, 1e-9)
    )
    np.testing.assert_allclose(curve.risk, every_step.risk[curve.steps], rtol=0.01)
    assert curve.risk[-1] < 0.4 * curve.risk[0]


def test_one_step_divides_by_the_scale_of_the_start():
    spectrum = power_law()
    scale = np.sqrt(2 * spectrum.start)
    curve = integrate_normalised(spectrum, sgd(0.1), batch=2, total_steps=1, scale="risk")
    exact = exact_moments(spectrum, sgd(0.1 / scale), batch=2, steps=[0, 1])
    np.testing.assert_allclose(curve.risk, exact.risk, rtol=1e-12)


@pytest.mark.parametrize(
    ("rate", "batch", "risk"),
    [
        (0.03, 1, 1.204e-3),
        (0.1, 4, 2.939e-3),
        pytest.param(0.01, 1, 1.338e-4, marks=pytest.mark.exhaustive),
        pytest.param(0.03, 4, 2.645e-4, marks=pytest.mark.exhaustive),
    ],
)
def test_a_constant_rate_stops_at_its_noise_floor(rate, batch, risk):
    spectrum = power_law(200, beta=0.5, twice_floor=0.0)
    curve = integrate_normalised(
        spectrum, sgd(rate), batch=batch, total_steps=round(4000 / rate), scale="risk"
    )
    floor = (rate / sgd_threshold(spectrum, batch)) ** 2 / 2
    assert floor == pytest.approx(risk, rel=5e-4)  # spec/plrf.md section 13.8
    assert curve.risk[-1] == pytest.approx(floor, rel=2e-3)


def test_adanas_schedules_count_from_one():
    at = normalised_adana(0.1, 0.85).at([0.0, 9.0])
    np.testing.assert_allclose(at.forget, [8 / 9, 8 / 18])
    np.testing.assert_allclose(at.gamma1, at.forget)
    np.testing.assert_allclose(at.gamma3, 0.1 * np.array([2.0, 11.0]) ** 0.15)
    more = normalised_adana(0.1, 0.85, plus_average=True).at([0.0, 9.0])
    np.testing.assert_allclose(more.gamma3 - at.gamma3, 0.1)


@pytest.mark.parametrize(
    ("name", "value"), [("scale", "loss"), ("block", 0.0), ("total_steps", 0), ("batch", -1)]
)
def test_arguments_out_of_range_are_named(name, value):
    arguments = {"batch": 1, "total_steps": 10, name: value}
    with pytest.raises(ValueError, match=name):
        integrate_normalised(power_law(), sgd(0.01), **arguments)
