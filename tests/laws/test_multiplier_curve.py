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


# --- the noise of seeds ---------------------------------------------------------------------------

SIZES = (1.0, 8.7, 77.4, 371.6)
MEANS = (4.281, 3.810, 3.339, 3.008)
NOISE = (0.014, 0.005, 0.017, 0.028)
"""Losses and noise of docs/evidence/ladder.md, where sizes differ in it up to six times."""


def drawn(rng, name="adamw", seeds=2, noise=NOISE):
    points = zip(SIZES, MEANS, noise, strict=True)
    return Curve(
        name,
        tuple(Observation(c, tuple(m + s * rng.standard_normal(seeds))) for c, m, s in points),
    )


def test_equal_optimizers_are_told_apart_as_often_as_said_where_sizes_differ_in_noise():
    rng = np.random.default_rng(0)
    draws = 300
    apart = np.zeros(len(SIZES))
    for i in range(draws):
        found = piecewise_multiplier(drawn(rng), drawn(rng, "adana"), replicates=300, seed=i)
        apart += found.separable
    # 10 % with a standard error of 2 %; the noise pooled over sizes would give 32 % at the last.
    assert (apart / draws <= 0.17).all()
    assert (apart / draws >= 0.03).all()


def test_other_optimizers_of_the_sizes_make_the_noise_better_known():
    rng = np.random.default_rng(1)
    ends = []
    for i in range(40):
        curves = [drawn(rng, name) for name in ("adamw", "adana", "b", "c", "d", "e")]
        for others in ((), curves[2:]):
            found = piecewise_multiplier(*curves[:2], others=others, replicates=500, seed=i)
            ends.append(float(np.log(found.high[1] / found.low[1])))
    alone, with_others = np.nanmedian(ends[::2]), np.nanmedian(ends[1::2])
    assert with_others < 0.9 * alone


def test_copies_of_an_optimizer_make_no_noise_better_known():
    rng = np.random.default_rng(1)
    curves = [drawn(rng, name) for name in ("adamw", "adana")]
    copies = [Curve(name, curves[1].points) for name in ("b", "c")]
    found = [piecewise_multiplier(*curves, others=others).low for others in ((), copies)]
    assert found[0] == pytest.approx(found[1], nan_ok=True)


def test_a_size_of_one_seed_has_the_noise_of_the_others():
    rng = np.random.default_rng(2)
    few = drawn(rng)
    lonely = Curve("adamw", (*few.points[:2], Observation(SIZES[2], few.points[2].losses[:1])))
    found = piecewise_multiplier(lonely, lonely)
    assert found.low[1] < 1 < found.high[1]


def test_two_sizes_are_said_to_show_no_bend():
    rng = np.random.default_rng(3)
    baseline, candidate = drawn(rng), drawn(rng, "adana")
    short = Curve("adamw", baseline.points[:2])
    said = piecewise_multiplier(short, candidate).statements
    assert any("two sizes of adamw do not show how its curve bends" in text for text in said)
    said = piecewise_multiplier(baseline, candidate).statements
    assert not any("bends" in text for text in said)


def test_seeds_that_all_ended_alike_give_no_interval():
    rng = np.random.default_rng(4)
    baseline, candidate = (drawn(rng, name, noise=(0.0,) * 4) for name in ("adamw", "adana"))
    found = piecewise_multiplier(baseline, candidate)
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert "copies of one run" in found.statements[-1]


def test_points_of_fewer_seeds_are_drawn_noisier():
    rng = np.random.default_rng(5)
    points = [*drawn(rng, seeds=5).points[:3], drawn(rng, seeds=1).points[3]]
    uneven = fit_loss_laws([Curve("adamw", tuple(points))], saturation="zero", bootstrap=0)
    relative = uneven.noise.relative
    assert relative[3] > relative[0] == relative[2]
    even = fit_loss_laws([drawn(rng, seeds=5)], saturation="zero", bootstrap=0)
    assert even.noise.relative == ()


def test_the_computes_that_are_extrapolated_are_named():
    baseline, candidate = ladder(1.4)
    fit = fit_loss_laws([baseline, candidate], bootstrap=0)
    said = fitted_multiplier(fit, "adamw", "adana", [0.001, 1.0, 99.0]).statements
    assert any("adana at compute 0.001, 99 lies outside" in text for text in said)
