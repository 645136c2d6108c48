"""The fits reproduce what spec/scaling_laws section 7 prints for the reference's 20 anchor points.

The printed losses are rounded to 1e-4, which moves a by 0.001 (the saturation's valley is flat) and
an exponent by 2e-5, and a piecewise M by 0.001: that, not the fit, sets the tolerances.
"""

import numpy as np
import pytest

from adana.laws import fit_loss_laws, fitted_multiplier, piecewise_multiplier
from tests.laws.anchors import anchor_curves, anchor_rows


@pytest.fixture(scope="module")
def fit():
    return fit_loss_laws(anchor_curves(), method="least-squares", bootstrap=200)


def test_the_single_law_has_the_printed_saturation_amplitudes_and_exponents(fit):
    adamw, dana = fit.laws["adamw"], fit.laws["dana_mk4"]
    assert adamw.a == dana.a == pytest.approx(0.1974, abs=0.001)
    assert (adamw.b, dana.b) == pytest.approx((2.9422, 2.9049), abs=0.001)
    assert (adamw.c, dana.c) == pytest.approx((0.04841, 0.04855), abs=2e-5)
    assert fit.rms == pytest.approx(8.1e-4, abs=0.05e-4)


def test_the_fitted_multiplier_is_the_printed_one(fit):
    computes = [0.0107846629, 0.299326579, 4.16504454, 11.2817315, 206]
    found = fitted_multiplier(fit, "adamw", "dana_mk4", computes)
    assert found.value == pytest.approx([1.286, 1.298, 1.307, 1.311, 1.321], abs=0.0007)
    assert found.inside.tolist() == [True, True, True, False, False]
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()


def test_the_piecewise_multiplier_is_the_printed_one():
    found = piecewise_multiplier(*anchor_curves(), extrapolate=True)
    printed = np.array([row["multiplier"] for row in anchor_rows()])
    assert found.value == pytest.approx(printed, abs=0.001)


def test_without_extrapolation_the_last_piecewise_multiplier_is_not_given():
    found = piecewise_multiplier(*anchor_curves())
    assert np.isnan(found.value).tolist() == [False] * 9 + [True]
    assert "outside of what adamw reached" in " ".join(found.statements)


def test_clean_data_makes_the_robust_fit_the_least_squares_fit(fit):
    robust = fit_loss_laws(anchor_curves(), bootstrap=0)
    assert robust.laws["adamw"].b == pytest.approx(fit.laws["adamw"].b, rel=1e-4)
