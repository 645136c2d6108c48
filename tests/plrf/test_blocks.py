"""The block-power integrator against the exact recursion, and its verdict of divergence."""

import numpy as np
import pytest

from adana.plrf.blocks import MOST_STEPS, block_lengths, integrate
from adana.plrf.momentum import (
    ademamix,
    damped_average,
    dana_decaying,
    log_average,
    log_nesterov,
    schedule_free,
    sgd,
    sgd_momentum,
)
from adana.plrf.recursion import exact_moments
from tests.plrf.spectra import grouped_power_law, power_law

METHODS = [
    sgd(0.3),
    sgd_momentum(0.15, 0.015),
    dana_decaying(0.3, 0.5),
    damped_average(0.3, 0.5, gain=1 / 16),
    schedule_free(0.3),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("batch", [1, 4, float("inf")])
def test_blocks_of_one_step_are_the_recursion(method, batch):
    curve = integrate(power_law(), method, batch=batch, total_steps=300, block=1e-9)
    exact = exact_moments(power_law(), method, batch=batch, steps=np.arange(301))
    np.testing.assert_array_equal(curve.steps, exact.steps)
    np.testing.assert_allclose(curve.risk, exact.risk, rtol=1e-12)
    np.testing.assert_allclose(curve.buffer, exact.buffer, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    ("gain", "block", "error"), [(1, 0.1, 6e-3), (1, 0.05, 2e-3), (1, 0.02, 5e-4), (2, 0.05, 8e-3)]
)
def test_the_error_of_blocks_is_as_stated(gain, block, error):
    spectrum = grouped_power_law(10**5, twice_floor=1e-8)
    method = dana_decaying(0.5 / spectrum.trace, 0.5, gain=gain)
    curve = integrate(spectrum, method, batch=1, total_steps=10_000, block=block)
    exact = exact_moments(spectrum, method, batch=1, steps=curve.steps)
    np.testing.assert_allclose(curve.risk, exact.risk, rtol=error)
    np.testing.assert_allclose(curve.buffer, exact.buffer, rtol=2 * error)


@pytest.mark.parametrize(
    ("method", "risk", "buffer"),
    [
        (sgd_momentum(0.15, 0.015), 2e-3, 4e-3),
        (schedule_free(0.3), 2e-3, 4e-3),
        (ademamix(0.3, 3000, 0.5 / 8 * 3000**0.5), 2e-3, 2e-2),
        (log_average(0.3), 2e-2, 4e-2),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_error_of_blocks_depends_on_the_method_as_stated(method, risk, buffer):
    spectrum = grouped_power_law(10**4, twice_floor=1e-8)
    curve = integrate(spectrum, method, batch=1, total_steps=10_000)
    exact = exact_moments(spectrum, method, batch=1, steps=curve.steps)
    np.testing.assert_allclose(curve.risk, exact.risk, rtol=risk)
    np.testing.assert_allclose(curve.buffer, exact.buffer, rtol=buffer)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_shorter_blocks_change_a_long_curve_little(method):
    spectrum = grouped_power_law(10**4, twice_floor=1e-8)
    coarse, fine = (
        integrate(spectrum, method, batch=1, total_steps=10**7, block=block)
        for block in (0.05, 0.0125)
    )
    assert not coarse.diverged
    for step in 10.0 ** np.arange(1, 8):
        assert coarse.at(step) == pytest.approx(fine.at(step), rel=5e-3)


def test_undamped_momentum_diverges_at_any_batch_but_the_full_one():
    spectrum = grouped_power_law(10**4, twice_floor=1e-6)
    method = log_nesterov(0.05)
    ends = []
    for batch in (4, 64):
        curve = integrate(spectrum, method, batch=batch, total_steps=10**7)
        assert curve.diverged
        assert np.isfinite(curve.risk).all()
        assert (curve.risk > 0).all()
        assert curve.risk.min() < 0.1 * curve.risk[0]
        ends.append(curve.steps[-1])
    assert ends[1] > 50 * ends[0]
    full = integrate(spectrum, method, batch=float("inf"), total_steps=10**7)
    assert not full.diverged
    assert full.risk[-1] == pytest.approx(spectrum.floor, rel=1e-3)


@pytest.mark.parametrize("total_steps", [1, 2, 39, 40, 41, 1000, 123_457])
def test_blocks_fill_the_steps_and_stay_short(total_steps):
    lengths = np.array(block_lengths(total_steps, 0.05))
    assert lengths.sum() == total_steps
    before = np.cumsum(lengths) - lengths
    assert (lengths <= np.maximum(1, 0.05 * before)).all()
    assert (lengths & (lengths - 1) == 0).all()
    curve = integrate(power_law(), sgd(0.3), batch=1, total_steps=total_steps)
    assert curve.steps[0] == 0
    assert curve.steps[-1] == total_steps


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("batch", {"batch": 0}),
        ("total_steps", {"total_steps": 0}),
        ("block", {"block": 0}),
        ("block", {"block": 2}),
    ],
)
def test_arguments_out_of_range_are_named(name, arguments):
    with pytest.raises(ValueError, match=name):
        integrate(power_law(), sgd(0.3), **{"batch": 1, "total_steps": 10, **arguments})


def test_a_risk_too_small_for_a_number_is_zero_and_no_divergence():
    spectrum = power_law(4, twice_floor=0.0)
    curve = integrate(spectrum, sgd(0.5), batch=float("inf"), total_steps=10**5)
    assert not curve.diverged
    assert curve.risk[-1] == 0


def test_steps_are_counted_up_to_a_limit_and_refused_beyond():
    """Beyond 2^63 steps their numbers would wrap to negative ones."""
    found = integrate(power_law(4), sgd(0.3), batch=4, total_steps=MOST_STEPS)
    assert not found.diverged
    assert found.steps[-1] == MOST_STEPS
    for steps in (MOST_STEPS + 1, 10**19):
        with pytest.raises(
            ValueError, match=r"total_steps must be an integer .* at most 10{18}, got"
        ):
            integrate(power_law(4), sgd(0.3), batch=4, total_steps=steps)
