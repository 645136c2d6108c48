"""Points and tails are those of scipy.stats."""

import pytest
from scipy import stats

from adana.laws import quantiles


@pytest.mark.parametrize("p", [1e-6, 0.05, 0.5, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("freedom", [1, 2, 7, 500])
def test_points_and_tails_agree_with_scipy_stats(p, freedom):
    t, f, z = stats.t.ppf(p, freedom), stats.f.ppf(p, 2, freedom), stats.norm.ppf(p)
    assert quantiles.student_point(p, freedom) == pytest.approx(t, rel=1e-9, abs=1e-12)
    assert quantiles.fisher_point(p, 2, freedom) == pytest.approx(f, rel=1e-9)
    assert quantiles.normal_point(p) == pytest.approx(z, rel=1e-9)
    assert quantiles.student_tail(t, freedom) == pytest.approx(1 - p, rel=1e-8)
    assert quantiles.fisher_tail(f, 2, freedom) == pytest.approx(1 - p, rel=1e-8)
    assert quantiles.normal_tail(z) == pytest.approx(1 - p, rel=1e-8)


@pytest.mark.parametrize("significance", [1e-20, 1e-12, 0.01])
def test_points_far_out_are_taken_from_the_near_side(significance):
    z, t = stats.norm.isf(significance), stats.t.isf(significance, 5)
    assert -quantiles.normal_point(significance) == pytest.approx(z, rel=1e-9)
    assert -quantiles.student_point(significance, 5) == pytest.approx(t, rel=1e-9)


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_shifted_tails_agree_with_scipy_stats(shift):
    expected = stats.nct.sf(1.8, 4, shift)
    assert quantiles.student_tail(1.8, 4, shift=shift) == pytest.approx(expected, rel=1e-8)
