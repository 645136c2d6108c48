"""The recursion against reference numbers and against what must leave it unchanged."""

from dataclasses import replace

import numpy as np
import pytest

from adana.plrf.momentum import (
    damped_average,
    dana_constant,
    dana_decaying,
    schedule_free,
    sgd,
    sgd_momentum,
)
from adana.plrf.recursion import exact_moments
from adana.plrf.spectrum import Spectrum
from tests.plrf.spectra import power_law
from tests.plrf.targets_of import grouped_rows

METHODS = {
    "sgd": sgd,
    "sgdm": lambda step: sgd_momentum(step / 2, 0.05 * step),
    "dana_constant": lambda step: dana_constant(step, 32),
    "dana_decaying": lambda step: dana_decaying(step, 0.5),
    "dana_decaying_ema": lambda step: damped_average(step, 0.5, gain=0.5 / 8),
    "schedule_free_y": schedule_free,
}


TARGETS = grouped_rows("plrf_recursion_targets.csv", ("algorithm", "batch", "gamma"))


@pytest.mark.parametrize(("name", "batch", "gamma"), TARGETS)
def test_the_recursion_gives_the_reference_numbers(name, batch, gamma):
    columns = ("t", "twice_risk", "sum_y_sq")
    expected = np.array([[float(row[c]) for c in columns] for row in TARGETS[name, batch, gamma]])
    curve = exact_moments(
        power_law(), METHODS[name](gamma), batch=batch, steps=expected[:, 0].astype(int)
    )
    np.testing.assert_allclose(2 * curve.risk, expected[:, 1], rtol=1e-9)
    np.testing.assert_allclose(curve.buffer, expected[:, 2], rtol=1e-9, atol=1e-300)
    assert not curve.diverged


def test_counts_stand_for_repeated_directions():
    once = power_law(8)
    thrice = replace(once, counts=np.full(8, 3.0))
    written_out = Spectrum(
        np.repeat(once.eigenvalues, 3), np.repeat(once.errors, 3), np.ones(24), once.twice_floor
    )
    method = dana_decaying(0.1, 0.5)
    short, long = (
        exact_moments(s, method, batch=2, steps=[0, 1, 10, 200]) for s in (thrice, written_out)
    )
    np.testing.assert_allclose(short.risk, long.risk, rtol=1e-12)
    np.testing.assert_allclose(short.buffer, long.buffer, rtol=1e-12)


def test_a_scaled_buffer_changes_nothing():
    plain = sgd_momentum(0.1, 0.02)
    average = replace(plain, gamma1=lambda t: 0 * t + 0.1, gamma3=lambda t: 0 * t + 0.2)
    curves = [exact_moments(power_law(), m, batch=1, steps=[1, 30, 300]) for m in (plain, average)]
    np.testing.assert_allclose(curves[0].risk, curves[1].risk, rtol=1e-12)


def test_the_full_gradient_descends_deterministically():
    spectrum = power_law()
    curve = exact_moments(spectrum, sgd(0.3), batch=float("inf"), steps=[0, 7])
    errors = spectrum.errors * (1 - 0.3 * spectrum.eigenvalues) ** 14
    assert 2 * curve.risk[1] == pytest.approx(1e-3 + spectrum.eigenvalues @ errors, rel=1e-12)


def test_too_large_a_step_ends_the_curve_as_diverged():
    curve = exact_moments(power_law(), sgd(1.5), batch=1, steps=np.arange(2000))
    assert curve.diverged
    assert curve.steps[-1] < 1999
    assert np.isfinite(curve.risk).all()
    assert curve.risk[-1] > 1e6 * curve.risk[0]


@pytest.mark.parametrize("steps", [[], [3, 2], [-1, 2], [0.5], 7])
def test_steps_must_increase(steps):
    with pytest.raises(ValueError, match="increasing integers"):
        exact_moments(power_law(), sgd(0.3), batch=1, steps=steps)


def test_batches_must_be_positive():
    with pytest.raises(ValueError, match="batch"):
        exact_moments(power_law(), sgd(0.3), batch=0, steps=[1])
