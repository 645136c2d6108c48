"""The compute-optimal envelope, on risks whose frontier is known in closed form."""

import numpy as np
import pytest

from adana.plrf.blocks import integrate
from adana.plrf.curve import RiskCurve
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.frontiers import frontier, risks_by_dimension
from adana.plrf.momentum import dana_constant, dana_decaying, default_step, sgd, spectral_kappa
from adana.plrf.phases import exponents
from tests.plrf.targets_of import grouped_rows

STEPS = np.unique(np.round(np.geomspace(1, 1e9, 400)).astype(int))
DIMENSIONS = np.geomspace(1e2, 1e6, 33)


def power_risk(dimension, *, p=0.8, q=1.5):
    """A risk `t^-p + d^-q`, whose optimum at f = d t has `d ~ f^(p/(p+q))` exactly."""
    risk = STEPS**-p + dimension**-q
    return RiskCurve("power", STEPS, risk, 0 * risk)


def test_the_envelope_of_two_power_laws_has_their_exponents():
    p, q = 0.8, 1.5
    computes = np.geomspace(1e7, 1e11, 30)
    front = frontier(risks_by_dimension(power_risk, DIMENSIONS), computes)
    best = (q / p) ** (1 / (p + q)) * computes ** (p / (p + q))
    np.testing.assert_allclose(front.compute, computes)
    np.testing.assert_allclose(front.dimension, best, rtol=0.03)
    np.testing.assert_allclose(front.risk, (computes / best) ** -p + best**-q, rtol=2e-3)
    eta, xi = front.exponents()
    assert eta == pytest.approx(p * q / (p + q), abs=2e-3)
    assert xi == pytest.approx(p / (p + q), abs=5e-3)
    assert front.exponents(front.upper_half())[0] == pytest.approx(eta, abs=2e-3)


def test_a_batch_costs_its_samples():
    curves = risks_by_dimension(power_risk, DIMENSIONS)
    computes = np.geomspace(1e7, 1e10, 10)
    one, many = frontier(curves, computes), frontier(curves, 16 * computes, batch=16)
    np.testing.assert_allclose(one.risk, many.risk)
    np.testing.assert_allclose(one.dimension, many.dimension)


def test_points_where_an_outermost_dimension_is_best_are_left_out():
    curves = risks_by_dimension(power_risk, np.geomspace(1e3, 1e4, 9))
    front = frontier(curves, np.geomspace(1e4, 1e16, 60))
    assert front.dimension.min() > 1e3
    assert front.dimension.max() < 1e4
    assert len(front.compute) < 60
    with pytest.raises(ValueError, match="smallest or the largest"):
        frontier(curves, np.array([1e16, 1e17]))


def test_slopes_need_points_and_envelopes_need_dimensions():
    front = frontier(risks_by_dimension(power_risk, DIMENSIONS), np.geomspace(1e7, 1e11, 30))
    with pytest.raises(ValueError, match="three points"):
        front.exponents(1e20)
    with pytest.raises(ValueError, match="at least 3 dimensions"):
        frontier(risks_by_dimension(power_risk, np.array([10, 20])), np.array([1e5]))


MEASURED = grouped_rows("plrf_compute_optimal.csv", ("alpha", "beta", "algorithm"))


def measured_frontier(alpha, beta, algorithm, number):
    """Frontier of `number` dimensions from 1e2 to 1e6 up to 1e13 samples times parameters."""

    def curve(dimension):
        spectrum = deterministic_spectrum(alpha, beta, dimension)
        step = default_step(spectrum.trace)
        method = {
            "sgd": sgd(step),
            "danac": dana_constant(step, dimension),
            "danad": dana_decaying(step, spectral_kappa(alpha)),
        }[algorithm]
        total_steps = round(1e13 / dimension)
        return integrate(spectrum, method, batch=1, total_steps=total_steps, block=0.1)

    curves = risks_by_dimension(curve, np.geomspace(1e2, 1e6, number))
    return frontier(curves, np.geomspace(1e5, 1e13, 65))


@pytest.mark.parametrize("algorithm", ["sgd", "danac", "danad"])
def test_the_compute_optimal_exponents_are_the_predicted_ones(algorithm):
    front = measured_frontier(1.0, 0.3, algorithm, 9)
    eta, xi = front.exponents(front.upper_half())
    (row,) = MEASURED[1.0, 0.3, algorithm]
    name = {"sgd": "SGD", "danac": "DANA-constant", "danad": "DANA-decaying"}[algorithm]
    predicted = exponents(1.0, 0.3, name)
    assert eta == pytest.approx(float(row["measured_upper_half"]), abs=3e-3)
    assert eta == pytest.approx(predicted.compute, abs=0.02)
    assert xi == pytest.approx(predicted.size, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta", "algorithm"), MEASURED)
def test_the_frontiers_of_the_spec_are_found_again(alpha, beta, algorithm):
    (row,) = MEASURED[alpha, beta, algorithm]
    front = measured_frontier(alpha, beta, algorithm, 17)
    eta, xi = front.exponents(front.upper_half())
    assert eta == pytest.approx(float(row["measured_upper_half"]), abs=5e-3)
    if algorithm == "sgd" or (alpha == 1 and beta < 1):
        expected = float(row["predicted_loss_exponent"])
        assert eta == pytest.approx(expected, abs=0.023 if alpha == 0.45 else 0.02)
    if (alpha, beta, algorithm) != (1.0, 1.3, "danac"):  # where the optimum is nearly flat
        assert xi == pytest.approx(float(row["measured_dstar_exponent"]), abs=0.025)


def test_a_method_that_diverges_everywhere_is_said_to():
    found = {
        d: RiskCurve("DANA", np.arange(3), np.ones(3), np.zeros(3), diverged=True)
        for d in (10.0, 100.0, 1000.0)
    }
    with pytest.raises(ValueError, match="DANA diverges at every dimension d: take a smaller gain"):
        frontier(found, np.geomspace(1e5, 1e9, 5))
