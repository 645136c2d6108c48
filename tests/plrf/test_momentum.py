"""The methods' schedules, against the table of spec/plrf.md section 2.2."""

import numpy as np
import pytest

from adana.plrf import momentum
from adana.plrf.momentum import default_step, spectral_kappa

STEPS = np.array([0.0, 1.0, 10.0, 1e6])


@pytest.mark.parametrize(
    "method",
    [
        momentum.sgd(0.3),
        momentum.sgd_momentum(0.3, 0.1),
        momentum.dana_constant(0.3, 100),
        momentum.dana_decaying(0.3, 0.5),
        momentum.damped_average(0.3, 0.5),
        momentum.linear_average(0.3, 0.1),
        momentum.log_nesterov(0.3),
        momentum.log_average(0.3),
        momentum.schedule_free(0.3),
        momentum.ademamix(0.3, 1000, 2.0),
    ],
    ids=lambda method: method.name,
)
def test_every_method_has_finite_coefficients_of_the_steps_shape(method):
    for value in method.at(STEPS).columns():
        assert value.shape == STEPS.shape
        assert np.isfinite(value).all()
        assert (value >= 0).all()
    assert all(value.shape == () for value in method.at(3).columns())
    assert (method.at(STEPS).forget <= 1).all()


def test_a_log_time_memory_starts_with_the_whole_gradient():
    np.testing.assert_allclose(momentum.dana_decaying(1.0, 0.5).at(STEPS).forget, 8 / (8 + STEPS))


def test_accumulating_and_averaging_agree_where_the_product_of_gamma1_and_gamma3_does():
    late = np.array([1e8])
    accumulating = momentum.dana_decaying(0.3, 0.4, gain=0.5).at(late)
    averaging = momentum.damped_average(0.3, 0.4, gain=0.5 / 8).at(late)
    np.testing.assert_allclose(
        accumulating.gamma1 * accumulating.gamma3,
        averaging.gamma1 * averaging.gamma3,
        rtol=1e-6,
    )


def test_schedule_free_begins_with_a_plain_step():
    first = momentum.schedule_free(0.3, 0.9).at(0)
    assert (first.gamma1, first.gamma2, first.gamma3) == (0.0, 0.3, 0.0)
    later = momentum.schedule_free(0.3, 0.9).at(4)
    np.testing.assert_allclose(
        [later.gamma1, later.gamma2, later.gamma3, later.forget],
        [4 / 5, 0.1 * 0.3, 0.9 * 0.3 / 4, 1 / 5],
    )


def test_ademamix_is_dana_constant_until_its_horizon():
    at = momentum.ademamix(0.3, 1e6, 2.0).at(np.array([1e4, 1e5, 1e6]))
    np.testing.assert_allclose(at.gamma1 * at.gamma3, 0.3 * 8 * 2.0 / 1e6, rtol=0.01)
    frozen = momentum.ademamix(0.3, 1e6, 2.0).at(np.array([1e6, 1e7]))
    assert frozen.forget[0] == frozen.forget[1]
    assert frozen.gamma3[0] == frozen.gamma3[1] == pytest.approx(0.6)


def test_the_defaults_are_those_of_the_research_code():
    assert default_step(2.0, 1) == 0.25
    assert default_step(2.0, 64) == 0.5
    assert spectral_kappa(1.0) == 0.5
    assert spectral_kappa(0.4) == 1.0


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="delta"):
        momentum.log_average(0.1, delta=-1)
    with pytest.raises(ValueError, match="horizon"):
        momentum.ademamix(0.1, 4, 1.0)
    with pytest.raises(ValueError, match="alpha"):
        spectral_kappa(0.0)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: momentum.sgd(-0.1), "a step"),
        (lambda: momentum.schedule_free(-0.1), "step"),
        (lambda: momentum.dana_constant(0.1, 0), "dimension"),
        (lambda: momentum.dana_decaying(0.1, 0.5, gain=-1), "gain"),
        (lambda: momentum.dana_decaying(0.1, float("nan")), "kappa"),
        (lambda: momentum.damped_average(0.1, 0.5, delta=0), "delta"),
        (lambda: momentum.linear_average(0.1, -3), "slope"),
        (lambda: momentum.ademamix(0.1, 100, 1.0, start_beta=1.0), "start_beta"),
        (lambda: momentum.ademamix(0.1, 4, 1.0), "horizon"),
    ],
)
def test_constants_out_of_range_are_named(make, named):
    with pytest.raises(ValueError, match=f"{named} must be"):
        make()


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [
        (1e3, [0.012, 0.112, 0.582, 0.926, 1.000]),
        (1e5, [0.556, 0.927, 0.993, 0.999, 1.0]),
        (1e7, [0.992, 0.999, 1.0, 1.0, 1.0]),
    ],
)
def test_the_memory_of_ademamix_tends_to_that_of_dana(horizon, expected):
    """Lemma J.1 of arXiv 2602.05298: `(1 - beta(t)) t / delta` tends to 1; spec section 13.8."""
    steps = horizon * np.array([1e-3, 1e-2, 0.1, 0.5, 1.0])
    forget = momentum.ademamix(0.1, horizon, 1.0).at(steps).forget
    np.testing.assert_allclose(forget * steps / 8, expected, atol=6e-4)


def test_the_steps_of_a_slope_are_those_of_dana_and_its_own_line():
    at = momentum.linear_average(0.1, 0.02).at(np.array([0, 9, 99]))
    np.testing.assert_allclose(at.gamma3, 0.1 * 0.02 * np.array([1, 10, 100]), rtol=1e-15)
