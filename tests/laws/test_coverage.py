"""Intervals hold the truth as often as they say: 90 % within 5, over 200 simulated ladders."""

import numpy as np
import pytest

from adana.laws import LossLaw, fit_loss_laws, fitted_multiplier, piecewise_multiplier
from tests.laws.simulate import Coverage, simulated, true_multiplier

LADDERS = 200
BASE = LossLaw(1.7, 1.9, 0.15)
BETTER = LossLaw(1.7, 1.9 * 1.3**-0.15, 0.15)


@pytest.mark.slow
def test_intervals_of_parameters_and_multipliers_cover_at_their_rate():
    rng = np.random.default_rng(11)
    computes = np.geomspace(0.01, 0.01 * 3.3**5, 6)
    truth = [true_multiplier(BASE, BETTER, c) for c in computes]
    covered, ends = Coverage(), Coverage()
    for i in range(LADDERS):
        curves = simulated({"adamw": BASE, "adana": BETTER}, computes, noise=1e-3, seeds=2, rng=rng)
        fit = fit_loss_laws(curves, bootstrap=150, seed=i)
        for row, name in enumerate("abc"):
            covered.count(name, *fit.interval("adana")[row], getattr(BETTER, name))
        covered.count("a by its profile", fit.profile.low, fit.profile.high, BETTER.a)
        fitted = fitted_multiplier(fit, "adamw", "adana", computes)
        piecewise = piecewise_multiplier(*curves, replicates=400, seed=i)
        for k in (0, 5):  # where one end of the interval is often open
            ends.count("piecewise M", piecewise.low[k], piecewise.high[k], truth[k])
        for k in (1, 2, 3):
            covered.count(f"fitted M {k}", fitted.low[k], fitted.high[k], truth[k])
            covered.count(f"piecewise M {k}", piecewise.low[k], piecewise.high[k], truth[k])
    shares = covered.shares()
    assert all(abs(share - 0.9) <= 0.05 for share in shares.values()), shares
    assert ends.shares()["piecewise M"] >= 0.85, ends.shares()
