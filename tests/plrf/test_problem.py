"""A drawn problem is what spec/plrf.md section 1 defines, and its reduction is exact."""

import numpy as np
import pytest

from adana.plrf.problem import PLRF, solve

PROBLEM = PLRF(alpha=1.0, beta=0.7, dimension=20, hidden=60, seed=3)
DRAWN = PROBLEM.draw()


def definition(theta):
    """Half the squared length of D^(1/2) (W theta - b), in the hidden inputs' coordinates."""
    j = np.arange(1.0, 61)
    w = DRAWN.features * j[:, None] ** 1.0
    return 0.5 * np.sum((j**-1.0 * (w @ theta - j**-0.7)) ** 2)


def test_features_are_normal_of_variance_1_over_d_times_the_inputs_scales():
    drawn = PLRF(0.6, 0.5, dimension=100, hidden=400).draw()
    weights = drawn.features * np.arange(1.0, 401)[:, None] ** 0.6
    assert np.mean(weights) == pytest.approx(0, abs=4 / np.sqrt(100 * 40000))
    assert np.var(weights) == pytest.approx(1 / 100, rel=4 * np.sqrt(2 / 40000))
    rows = np.var(weights, axis=1)
    assert rows[-20:].mean() == pytest.approx(rows[:20].mean(), rel=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_risk_is_that_of_the_definition(seed):
    theta = np.random.default_rng(seed).standard_normal(20)
    assert DRAWN.risk(theta) == pytest.approx(definition(theta), rel=1e-12)
    assert DRAWN.risk(np.stack([theta, DRAWN.optimum])).shape == (2,)


def test_the_optimum_has_no_gradient_and_the_risk_of_the_floor():
    gradient = DRAWN.features.T @ (DRAWN.features @ DRAWN.optimum - DRAWN.targets)
    np.testing.assert_allclose(gradient, 0, atol=1e-13)
    assert 2 * definition(DRAWN.optimum) == pytest.approx(DRAWN.twice_floor, rel=1e-10)


def test_the_spectrum_holds_the_whole_risk_of_the_start():
    spectrum = DRAWN.spectrum()
    assert spectrum.start == pytest.approx(0.5 * np.sum(np.arange(1.0, 61) ** -3.4), rel=1e-12)
    assert spectrum.dimension == 20
    assert spectrum.trace == pytest.approx(np.sum(DRAWN.features**2), rel=1e-12)
    assert (np.diff(spectrum.eigenvalues) < 0).all()


def test_start_is_the_signed_distance_of_zero_in_the_basis():
    np.testing.assert_allclose(DRAWN.basis @ DRAWN.start, -DRAWN.optimum, atol=1e-12)
    np.testing.assert_allclose(DRAWN.basis.T @ DRAWN.basis, np.eye(20), atol=1e-13)
    scaled = DRAWN.basis * DRAWN.eigenvalues
    np.testing.assert_allclose(
        scaled @ DRAWN.basis.T, DRAWN.features.T @ DRAWN.features, atol=1e-13
    )


def test_the_tail_of_a_steep_spectrum_keeps_its_digits():
    drawn = PLRF(1.5, 0.8, dimension=100, hidden=200).draw()
    left, singular, _ = np.linalg.svd(drawn.features, full_matrices=False)
    np.testing.assert_allclose(drawn.eigenvalues, singular**2, rtol=1e-10)
    np.testing.assert_allclose(
        np.abs(drawn.start), np.abs(left.T @ drawn.targets / singular), rtol=1e-6, atol=1e-8
    )


def test_a_seed_is_a_problem():
    again = PLRF(1.0, 0.7, 20, 60, seed=3).draw()
    np.testing.assert_array_equal(again.features, DRAWN.features)
    assert not np.allclose(PLRF(1.0, 0.7, 20, 60, seed=4).draw().features, DRAWN.features)


def test_hidden_inputs_are_four_times_the_parameters_by_default():
    assert PLRF(1.0, 0.7, 25).draw().features.shape == (100, 25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha must be"),
        ({"alpha": 0.3, "beta": 0.2}, "2 alpha \\+ 2 beta must be more than 1.*beta above 0.2"),
        ({"hidden": 20}, "hidden must be more than dimension \\(20\\), got 20"),
        ({"dimension": 0}, "dimension must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
    ],
)
def test_inadmissible_problems_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PLRF(**({"alpha": 1.0, "beta": 0.7, "dimension": 20} | arguments))


def test_features_without_full_rank_are_refused():
    with pytest.raises(ValueError, match="independent columns"):
        solve(np.ones((5, 2)), np.ones(5))
