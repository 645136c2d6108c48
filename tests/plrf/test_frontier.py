"""The compute-optimal envelope, on risks whose frontier is known in closed form."""

import numpy as np
import pytest

from adana.plrf.curve import RiskCurve
from adana.plrf.frontier import frontier, risks_by_dimension

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
