"""What is read off curves: known slopes and lowest points come back."""

import numpy as np
import pytest

from adana.plrf.experiments.measure import decades, lowest, power_law, slope


def test_the_slope_of_a_power_law_is_its_exponent_however_its_points_lie() -> None:
    x = np.concatenate([np.arange(1, 200), np.geomspace(300, 1e6, 9)])
    assert slope(x, 3 * x**-0.7, 10, 1e5) == pytest.approx(-0.7, abs=1e-12)


def test_dense_points_do_not_count_more() -> None:
    """From slope -1 to slope -2 at the middle of the window, with most points in the first half."""
    x = np.concatenate([np.linspace(1, 100, 5000), np.geomspace(120, 1e4, 40)])
    y = np.where(x < 100, 1 / x, 100 / x**2)
    assert slope(x, y, 1, 1e4) == pytest.approx(-1.5, abs=0.01)


def test_a_window_that_the_curve_does_not_fill_has_no_slope() -> None:
    x = np.geomspace(1, 1e3, 20)
    assert np.isnan(slope(x, 1 / x, 1e2, 1e4))
    assert np.isnan(slope(x, np.where(x > 50, np.nan, 1 / x), 1, 1e3))


def test_decades_are_whole() -> None:
    assert decades(2, 10_000_000) == [(1e2, 1e3), (1e3, 1e4), (1e4, 1e5), (1e5, 1e6), (1e6, 1e7)]
    assert decades(2, 5000) == [(1e2, 1e3)]
    assert decades(3, 500) == []


def test_the_lowest_point_of_a_parabola_lies_between_the_grid() -> None:
    x = np.linspace(0, 1, 11)
    found = lowest(x, 2 + 3 * (x - 0.437) ** 2)
    assert (found.x, found.y) == pytest.approx((0.437, 2.0))
    assert found.edge is None


def test_a_lowest_point_at_the_end_is_told_from_one_beside_a_divergence() -> None:
    x = np.linspace(0, 1, 11)
    assert lowest(x, x) == (0.0, 0.0, "end")
    found = lowest(x, np.where(x < 0.35, np.nan, (x - 0.5) ** 2))
    assert found.x == pytest.approx(0.5)
    assert found.edge is None
    assert lowest(x, np.where(x < 0.45, np.nan, x)) == (0.5, 0.5, "divergence")
    assert lowest(x, np.where(x < 0.45, x + 1, np.where(x < 0.55, np.inf, x))).edge == "divergence"
    with pytest.raises(ValueError, match="diverged"):
        lowest(x, np.full_like(x, np.nan))


def test_a_power_law_is_fitted() -> None:
    x = np.array([1e3, 1e4, 1e5])
    assert power_law(x, 0.5 * x**-0.4) == pytest.approx((-0.4, 0.5))
