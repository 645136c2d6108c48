"""Joint fits recover the laws that drew the data, and say what they cannot know."""

import numpy as np
import pytest

from adana.laws import Curve, LossLaw, Observation, fit_loss_laws, fitted_multiplier
from tests.laws.anchors import anchor_curves
from tests.laws.simulate import simulated, true_multiplier

COMPUTES = np.geomspace(0.01, 30, 12)
SINGLE = {"adamw": LossLaw(1.7, 1.9, 0.15), "adana": LossLaw(1.7, 1.8, 0.16)}
BROKEN = {
    "adamw": LossLaw(1.2, 0.6, 0.6, 1.5, 0.1),
    "adana": LossLaw(1.2, 0.5, 0.6, 1.4, 0.11),
}


def exact(laws, computes=COMPUTES):
    return [
        Curve(name, tuple(Observation(float(c), (float(law(c)),)) for c in computes))
        for name, law in laws.items()
    ]


def parameters(law):
    return [law.a, law.b, law.c, law.e, law.f]


@pytest.mark.parametrize("saturation", ["shared", "free", 1.7])
def test_exact_data_give_the_single_law_back(saturation):
    fit = fit_loss_laws(exact(SINGLE), saturation=saturation, bootstrap=0)
    for name, law in SINGLE.items():
        assert parameters(fit.laws[name]) == pytest.approx(parameters(law), rel=1e-3)
    assert fit.rms < 1e-6


def test_exact_data_give_the_broken_law_back():
    fit = fit_loss_laws(exact(BROKEN), form="broken", saturation=1.2, bootstrap=0)
    for name, law in BROKEN.items():
        assert parameters(fit.laws[name]) == pytest.approx(parameters(law), rel=0.02)


def test_a_saturation_of_zero_is_a_pure_power_law():
    fit = fit_loss_laws(exact({"adamw": LossLaw(0.0, 3.0, 0.05)}), saturation="zero", bootstrap=0)
    assert parameters(fit.laws["adamw"]) == pytest.approx([0, 3, 0.05, 0, 0], abs=1e-5)
    assert fit.profile is None


def test_shared_exponents_are_the_same_in_all_curves():
    fit = fit_loss_laws(exact(SINGLE), exponents="shared", bootstrap=20)
    assert fit.laws["adamw"].c == fit.laws["adana"].c
    assert np.array_equal(fit.replicates["adamw"][:, 2], fit.replicates["adana"][:, 2])


@pytest.mark.parametrize("form", ["single", "broken"])
def test_every_draw_keeps_the_exponents_positive_and_ordered(form):
    fit = fit_loss_laws(anchor_curves(), form=form, bootstrap=100)
    for draws in fit.replicates.values():
        assert draws.shape == (100, 5)
        assert (draws[:, 2] > draws[:, 4]).all()
        assert (draws >= 0).all()


def test_a_run_that_went_wrong_does_not_bend_the_robust_law_and_is_named():
    rng = np.random.default_rng(0)
    curves = simulated(SINGLE, COMPUTES, noise=5e-4, seeds=1, rng=rng)
    points = list(curves[0].points)
    points[4] = Observation(points[4].compute, (points[4].mean * 1.2,))
    spoiled = [Curve("adamw", tuple(points)), curves[1]]
    at = [0.1, 1.0, 10.0]
    truth = [true_multiplier(SINGLE["adamw"], SINGLE["adana"], c) for c in at]
    errors = {}
    for method in ("robust", "least-squares"):
        fit = fit_loss_laws(spoiled, method=method, bootstrap=0)
        value = fitted_multiplier(fit, "adamw", "adana", at).value
        errors[method] = np.abs(value - truth).max()
        said = " ".join(fit.statements)
        assert (f"adamw at compute {points[4].compute:.3g}" in said) == (method == "robust")
    assert errors["robust"] < 0.02 < errors["least-squares"]


def test_weights_by_compute_follow_the_largest_sizes():
    bent = {"adamw": lambda c: 1.0 + 2 * c**-0.1 + 0.3 * (c < 0.1)}
    equal = fit_loss_laws(exact(bent), method="least-squares", bootstrap=0)
    heavy = fit_loss_laws(exact(bent), method="least-squares", weights="compute", bootstrap=0)
    miss = [abs(fit.residuals["adamw"][-1]) for fit in (equal, heavy)]
    assert miss[1] < miss[0] / 2


def test_the_anchors_do_not_identify_the_saturation_and_do_not_ask_for_a_broken_law():
    fit = fit_loss_laws(anchor_curves(), form="broken", bootstrap=100)
    said = " ".join(fit.statements)
    assert "the saturation a is not identified" in said
    assert "not identified: exponent c of adamw" in said
    assert "the single law fits as well as this law" in said


def test_a_ladder_that_bends_identifies_its_saturation_and_the_profile_is_lowest_there():
    rng = np.random.default_rng(3)
    fit = fit_loss_laws(simulated(SINGLE, COMPUTES, noise=2e-4, seeds=2, rng=rng), bootstrap=50)
    assert "the saturation a is identified" in " ".join(fit.statements)
    profile = fit.profile
    assert profile.low < fit.laws["adamw"].a < profile.high
    assert profile.high - profile.low < 0.01
    lowest = profile.values[np.argmin(profile.objective)]
    assert lowest == pytest.approx(fit.laws["adamw"].a, abs=1e-3)


def test_two_exponents_are_told_apart_by_the_f_test_where_they_differ():
    apart = {"adamw": LossLaw(1.7, 1.9, 0.15), "adana": LossLaw(1.7, 1.9, 0.2)}
    rng = np.random.default_rng(0)
    fit = fit_loss_laws(simulated(apart, COMPUTES, noise=5e-4, seeds=1, rng=rng), bootstrap=0)
    assert "this law fits better than one exponent for all optimizers" in " ".join(fit.statements)


def test_leave_largest_out_predicts_exact_data():
    fit = fit_loss_laws(exact(SINGLE), bootstrap=0)
    for one in fit.leave_largest_out.values():
        assert one.compute == COMPUTES[-1]
        assert abs(one.error) < 1e-5


def test_drawing_sizes_keeps_what_optimizers_share_at_a_size():
    rng = np.random.default_rng(0)
    bumps = np.exp(2e-3 * rng.standard_normal(len(COMPUTES)))
    curves = [
        Curve(name, tuple(Observation(float(c), (float(law(c) * u),))
                          for c, u in zip(COMPUTES, bumps, strict=True)))
        for name, law in SINGLE.items()
    ]  # fmt: skip
    width = {}
    for kind in ("residuals", "sizes"):
        fit = fit_loss_laws(curves, resample=kind, bootstrap=200)
        found = fitted_multiplier(fit, "adamw", "adana", [1.0])
        width[kind] = found.high[0] - found.low[0]
    assert width["sizes"] < width["residuals"] / 3


def test_without_degrees_of_freedom_the_seeds_give_the_noise():
    two = np.array([0.1, 10.0])
    rng = np.random.default_rng(0)
    curves = simulated({"adamw": SINGLE["adamw"]}, two, noise=1e-3, seeds=3, rng=rng)
    fit = fit_loss_laws(curves, saturation=1.7, bootstrap=100)
    assert fit.noise.freedom == 4
    assert "seeds only" in " ".join(fit.statements)
    low, high = fit.interval("adamw")[2]
    assert low < 0.15 < high


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"form": "double"}, "form is one of single, broken"),
        ({"saturation": "none"}, "saturation is shared, free, zero or a number"),
        ({"saturation": 3.0}, "below the lowest loss"),
        ({"method": "magic"}, "method is one of"),
        ({"bootstrap": -1}, "bootstrap must be an integer of at least 0"),
    ],
)
def test_a_wrong_choice_says_what_there_is(choice, message):
    with pytest.raises(ValueError, match=message):
        fit_loss_laws(anchor_curves(), **choice)


def test_fewer_points_than_parameters_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="Train more sizes, or fit less"):
        fit_loss_laws(exact({"adamw": SINGLE["adamw"]}, COMPUTES[:2]))


def test_a_curve_needs_ascending_computes():
    with pytest.raises(ValueError, match="one observation for each compute"):
        Curve("adamw", (Observation(1.0, (3.0,)), Observation(1.0, (3.1,))))
