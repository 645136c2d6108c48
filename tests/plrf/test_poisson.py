"""The ordinary differential equation, against the recursion at Poisson times and later."""

import numpy as np
import pytest
from scipy.stats import poisson

from adana.plrf.blocks import integrate
from adana.plrf.momentum import dana_decaying, sgd, sgd_momentum
from adana.plrf.poisson import solve_ode
from adana.plrf.recursion import exact_moments
from tests.plrf.spectra import grouped_power_law, power_law


@pytest.mark.parametrize("method", [sgd(0.3), sgd_momentum(0.15, 0.015)], ids=lambda m: m.name)
def test_constant_methods_have_the_mean_risk_of_poisson_many_steps(method):
    counts = np.arange(200)
    exact = exact_moments(power_law(), method, batch=2, steps=counts)
    curve = solve_ode(power_law(), method, batch=2, total_steps=60, spacing=1e-3)
    for time in (1.0, 5.0, 60.0):
        expected = poisson.pmf(counts, time) @ exact.risk
        assert curve.at(time) == pytest.approx(expected, rel=2e-3)


def test_the_equation_meets_the_algorithm_at_late_times():
    spectrum = grouped_power_law(10**4, twice_floor=1e-8, groups=60)
    method = dana_decaying(0.3, 0.5)
    curve = solve_ode(spectrum, method, batch=1, total_steps=1e5, spacing=6e-3)
    blocks = integrate(spectrum, method, batch=1, total_steps=10**5, block=0.02)
    gaps = [abs(curve.at(time) / blocks.at(time) - 1) for time in (3, 100, 1e5)]
    assert gaps[0] > 0.02
    assert gaps[1] < 0.03
    assert gaps[2] < 0.005
    assert curve.steps[-1] == 1e5
    assert curve.buffer[-1] == pytest.approx(blocks.buffer[-1], rel=0.01)


def test_too_large_a_step_diverges():
    curve = solve_ode(power_law(), sgd(1.5), batch=1, total_steps=1e4)
    assert curve.diverged
    assert np.isfinite(curve.risk).all()


@pytest.mark.parametrize(("name", "value"), [("spacing", 0.0), ("total_steps", -1.0)])
def test_arguments_out_of_range_are_named(name, value):
    arguments = {"total_steps": 10.0, "spacing": 0.01, name: value}
    with pytest.raises(ValueError, match=name):
        solve_ode(power_law(), sgd(0.3), batch=1, **arguments)
