"""Multipliers over sizes: values, what lies outside, and what is separable."""

import numpy as np
import pytest

from adana.laws import (
    Curve,
    LossLaw,
    Observation,
    fit_loss_laws,
    fitted_multiplier,
    piecewise_multiplier,
)
from adana.laws.invert import log_compute_at
from adana.laws.multiplier_result import MultiplierCurve, separability
from tests.laws.simulate import simulated, true_multiplier

COMPUTES = np.geomspace(0.01, 30, 10)
BASE = LossLaw(1.5, 1.0, 0.4, 1.2, 0.08)


def ladder(gain, noise=1e-3, seeds=2, seed=0):
    better = LossLaw(1.5, gain**-0.4, 0.4, 1.2 * gain**-0.08, 0.08)
    rng = np.random.default_rng(seed)
    return simulated({"adamw": BASE, "adana": better}, COMPUTES, noise=noise, seeds=seeds, rng=rng)


def test_the_inverse_of_a_law_gives_its_compute_back():
    laws = np.array([[1.5, 1.0, 0.4, 1.2, 0.08], [0.0, 3.0, 0.05, 0.0, 0.0]])
    x = np.linspace(-8, 8, 7)
    losses = np.stack([LossLaw(*law)(np.exp(x)) for law in laws])
    assert log_compute_at(laws[:, None], losses) == pytest.approx(np.stack([x, x]), abs=1e-8)


def test_a_loss_below_the_saturation_needs_infinite_compute():
    assert log_compute_at(np.array([1.5, 1.0, 0.4, 0.0, 0.0]), np.array([1.5])) == np.inf


def test_the_same_law_with_less_compute_has_a_constant_multiplier():
    baseline, candidate = ladder(1.4, noise=0.0, seeds=1)
    fit = fit_loss_laws((baseline, candidate), form="broken", saturation=1.5, bootstrap=0)
    found = fitted_multiplier(fit, "adamw", "adana", COMPUTES)
    assert found.value == pytest.approx(1.4, abs=0.01)
    assert np.isnan(found.low).all()
    assert not found.separable.any()
    assert "no interval" in " ".join(found.statements)


def test_one_compute_is_told_as_one():
    single = {k: np.array([v]) for k, v in {"compute": 1.0, "value": 1.5, "low": 1.2}.items()}
    yes = np.array([True])
    curve = MultiplierCurve(
        "adana", "adamw", "fitted", **single, high=np.array([1.8]), inside=yes, separable=yes,
        level=0.9, statements=(),
    )  # fmt: skip
    assert "at the one compute" in separability(curve)


def test_against_itself_a_baseline_has_multiplier_one_and_is_not_separable():
    fit = fit_loss_laws(ladder(1.4), bootstrap=100)
    found = fitted_multiplier(fit, "adamw", "adamw")
    assert found.value == pytest.approx(1.0)
    assert not found.separable.any()
    assert "not separable" in found.statements[0]


def test_the_piecewise_multiplier_says_nothing_outside_of_the_baselines_losses():
    baseline, candidate = ladder(1.4)
    found = piecewise_multiplier(baseline, candidate)
    assert found.inside.tolist() == [True] * 9 + [False]
    assert np.isnan(found.value[-1])
    assert found.low[-1] == pytest.approx(1.0)
    assert np.isnan(found.high[-1])
    assert found.separable.all()


def test_extrapolation_goes_on_with_the_last_segments_slope():
    law = LossLaw(0.0, 3.0, 0.1)
    curves = simulated({"a": law, "b": LossLaw(0.0, 2.5, 0.1)}, COMPUTES, noise=0, seeds=1,
                       rng=np.random.default_rng(0))  # fmt: skip
    found = piecewise_multiplier(*curves, extrapolate=True)
    assert found.value == pytest.approx(true_multiplier(law, LossLaw(0.0, 2.5, 0.1), 1.0))


def test_the_interval_holds_the_value_and_grows_with_the_noise():
    width = []
    for noise in (1e-3, 3e-3):
        found = piecewise_multiplier(*ladder(1.2, noise=noise))
        inside = found.inside & ~np.isnan(found.high)
        assert (found.low[inside] <= found.value[inside]).all()
        assert (found.value[inside] <= found.high[inside]).all()
        width.append(np.median((found.high - found.low)[inside]))
    assert width[1] > 1.5 * width[0]


def test_a_difference_below_the_noise_is_not_separable():
    baseline, candidate = ladder(1.0, noise=0.0)
    wobble = [1 + 0.004 * (-1) ** k for k in range(len(COMPUTES))]
    noisy = [
        Curve(curve.name, tuple(Observation(p.compute, (p.mean * w, p.mean / w))
                                for p, w in zip(curve.points, wobble, strict=True)))
        for curve in (baseline, candidate)
    ]  # fmt: skip
    found = piecewise_multiplier(*noisy)
    assert not found.separable.any()
    assert "not separable" in found.statements[-1]


def test_a_baseline_that_does_not_fall_gives_no_number():
    flat = Curve("adamw", (Observation(1.0, (3.0, 3.01)), Observation(2.0, (3.1, 3.1))))
    other = Curve("adana", (Observation(1.0, (3.05, 3.06)),))
    found = piecewise_multiplier(flat, other)
    assert np.isnan(found.value).all()
    assert "does not fall" in found.statements[0]


def test_one_seed_everywhere_gives_a_value_without_interval():
    found = piecewise_multiplier(*ladder(1.4, seeds=1))
    assert found.value[2] == pytest.approx(1.4, abs=0.1)
    assert np.isnan(found.low).all()
    assert "two seeds" in " ".join(found.statements)


def test_an_unknown_curve_is_named():
    fit = fit_loss_laws(ladder(1.4), bootstrap=0)
    with pytest.raises(ValueError, match="no law of 'muon'"):
        fitted_multiplier(fit, "adamw", "muon")


def test_an_interval_that_reaches_beyond_the_baseline_stays_open_there():
    """The last size: half the draws need more compute than the baseline ever had."""
    computes = (1.0, 10.0, 100.0)
    noisy = [(3.29, 3.31), (2.99, 3.01), (2.69, 2.71)]
    baseline = Curve("adamw", tuple(map(Observation, computes, noisy)))
    candidate = Curve("adana", (Observation(100.0, (2.695, 2.715)),))
    found = piecewise_multiplier(baseline, candidate)
    assert found.value[0] < 1
    assert found.low[0] < found.value[0]
    assert np.isnan(found.high[0])
    assert not found.separable[0]


def test_a_curve_that_bends_the_wrong_way_is_taken_as_straight():
    computes = (1.0, 10.0, 100.0, 1000.0)
    tight = [(3.3, 3.3001), (3.2, 3.2001), (3.0, 3.0001), (2.5, 2.5001)]
    baseline = Curve("adamw", tuple(map(Observation, computes, tight)))
    candidate = Curve("adana", (Observation(300.0, (2.75, 2.7501)),))
    found = piecewise_multiplier(baseline, candidate)
    assert found.low[0] == pytest.approx(found.value[0], rel=0.01)
    assert found.high[0] == pytest.approx(found.value[0], rel=0.01)
