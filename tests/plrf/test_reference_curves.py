"""Risk curves on the deterministic spectrum, against the numbers of spec/plrf.md section 13."""

import numpy as np
import pytest

from adana.plrf.blocks import integrate
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.momentum import (
    ademamix,
    damped_average,
    dana_constant,
    dana_decaying,
    default_step,
    linear_average,
    log_average,
    log_nesterov,
    schedule_free,
    sgd,
    spectral_kappa,
)
from tests.plrf.targets_of import grouped_rows

RISKS = grouped_rows("plrf_risk_targets.csv", ("alpha", "beta", "d", "v"))


@pytest.mark.parametrize("case", RISKS, ids=str)
def test_the_methods_have_the_reference_risks_up_to_1e8_steps(case):
    alpha, beta, d, v = case
    spectrum = deterministic_spectrum(alpha, beta, int(d), int(v))
    step = float(RISKS[case][0]["gamma2"])
    curves = {
        "sgd": sgd(step),
        "dana_constant": dana_constant(step, d),
        "dana_decaying": dana_decaying(step, spectral_kappa(alpha)),
    }
    for name, method in curves.items():
        curve = integrate(spectrum, method, batch=1, total_steps=10**8)
        rows = [row for row in RISKS[case] if row["algorithm"] == name]
        assert len(rows) == 8
        for row in rows:
            assert curve.at(float(row["t"])) == pytest.approx(float(row["risk"]), rel=2e-3)


HORIZON = 500**1.5
"""AdEMAMix's warm-up in the figure below, d^alpha."""


@pytest.mark.parametrize(
    ("make", "risks"),
    [
        (sgd, [8.73e-3, 1.21e-3, 1.74e-4, 2.67e-5, 4.69e-6, 1.05e-6, 3.60e-7]),
        (
            lambda step: dana_constant(step, 500),
            [8.69e-3, 1.15e-3, 1.18e-4, 6.10e-6, 4.42e-7, 2.25e-7, 2.36e-7],
        ),
        (
            lambda step: dana_decaying(step, 1 / 3),
            [5.76e-3, 3.73e-4, 1.92e-5, 1.37e-6, 2.85e-7, 2.39e-7, 2.38e-7],
        ),
        (
            lambda step: ademamix(
                step, HORIZON, 0.5 * HORIZON ** (2 / 3), gamma1=lambda t: 1 / (1 + t)
            ),
            [6.63e-3, 5.34e-4, 2.03e-5, 4.44e-6, 2.32e-6, 9.27e-7, 3.56e-7],
        ),
    ],
    ids=["SGD", "DANA-constant", "DANA-decaying", "AdEMAMix"],
)
def test_the_curves_of_the_figure_with_ademamix_are_the_specs(make, risks):
    spectrum = deterministic_spectrum(1.5, 0.3, 500, 2500)
    assert spectrum.floor == pytest.approx(1.83e-7, rel=5e-3)
    curve = integrate(spectrum, make(0.25 / spectrum.trace), batch=1, total_steps=10**8)
    for step, risk in zip(10.0 ** np.arange(2, 9), risks, strict=True):
        assert curve.at(step) == pytest.approx(risk, rel=6e-3)


@pytest.mark.parametrize(
    ("make", "risk"),
    [
        (sgd, 1.05e-5),
        (log_average, 1.03e-5),
        (lambda step: schedule_free(2 * step), 6.5e-6),
        (lambda step: damped_average(step, 1.0), 6.0e-6),
        (lambda step: damped_average(step, 0.85), 2.1e-6),
        (lambda step: damped_average(step, 0.75), 8.9e-7),
        (lambda step: damped_average(step, 0.5, gain=1 / 8), 4.9e-7),
        (lambda step: dana_decaying(step, 0.5, gain=1), 5.2e-7),
        (lambda step: damped_average(step, 0.5), None),
        (lambda step: damped_average(step, 0.6), None),
        (log_nesterov, None),
    ],
    ids=lambda value: f"{value}" if isinstance(value, float) else None,
)
def test_averages_of_momentum_end_at_the_specs_risks_or_diverge_early(make, risk):
    spectrum = deterministic_spectrum(1.0, 0.3, 10**5)
    curve = integrate(spectrum, make(0.5 / spectrum.trace), batch=1, total_steps=10**6)
    if risk is None:
        assert curve.diverged
        assert curve.steps[-1] < 200
    else:
        assert curve.risk[-1] == pytest.approx(risk, rel=0.02)


def test_below_the_high_dimensional_line_damping_less_is_worse():
    spectrum = deterministic_spectrum(0.4, 0.8, 10**4)
    step = default_step(spectrum.trace)
    for kappa, risk in ((1, 2.31e-3), (0.9, 2.35e-3), (0.75, 2.74e-3)):
        method = dana_decaying(step, kappa, gain=1)
        curve = integrate(spectrum, method, batch=1, total_steps=10**6)
        assert curve.risk[-1] == pytest.approx(risk, rel=0.01)
    plain = integrate(spectrum, sgd(step), batch=1, total_steps=10**6)
    assert plain.risk[-1] == pytest.approx(2.30e-3, rel=0.01)
    assert integrate(
        spectrum, dana_decaying(step, 0.5, gain=1), batch=1, total_steps=10**6
    ).diverged


def test_ademamix_runs_with_the_constant_momentum_that_its_horizon_fixes():
    spectrum = deterministic_spectrum(1.0, 0.3, 10**5)
    step, horizon, delta = 0.5 / spectrum.trace, 10**6, 8
    final_gain = 0.5 / delta * horizon**0.5
    mixed, matched, decaying = (
        integrate(spectrum, method, batch=1, total_steps=horizon).risk
        for method in (
            ademamix(step, horizon, final_gain),
            linear_average(step, final_gain / horizon),
            damped_average(step, 0.5, gain=0.5 / delta),
        )
    )
    np.testing.assert_allclose(mixed, matched, rtol=1e-3)
    ratios = mixed / decaying
    assert ratios[-1] == pytest.approx(1.21, abs=0.02)
    assert ratios.max() == pytest.approx(2.9, abs=0.05)
