"""The two-variable law is found again, robustly, with intervals that hold it."""

import numpy as np
import pytest

from adana.laws.chinchilla import ChinchillaLaw, fit_chinchilla

LAW = ChinchillaLaw(1.82, 480.0, 0.35, 2100.0, 0.37)
"""About what Epoch AI's replication of the Chinchilla fit found (arXiv 2404.10102)."""


def runs(noise=0.0, seed=0):
    sizes, tokens = np.meshgrid(np.geomspace(5e7, 1.6e10, 8), np.geomspace(1e9, 4e11, 7))
    n, d = sizes.ravel(), tokens.ravel()
    rng = np.random.default_rng(seed)
    return n, d, LAW(n, d) * np.exp(noise * rng.standard_normal(len(n)))


def values(law):
    return [law.E, law.A, law.alpha, law.B, law.beta]


def test_exact_runs_give_the_law_back():
    fit = fit_chinchilla(*runs(), bootstrap=0)
    assert values(fit.law) == pytest.approx(values(LAW), rel=1e-3)
    assert fit.rms < 1e-6


def test_a_run_that_went_wrong_hardly_moves_the_exponents():
    n, d, losses = runs(noise=5e-4)
    losses[10] *= 1.3
    fit = fit_chinchilla(n, d, losses, bootstrap=0)
    assert fit.law.alpha == pytest.approx(LAW.alpha, rel=0.03)
    assert fit.law.beta == pytest.approx(LAW.beta, rel=0.03)


def test_the_intervals_hold_the_truth_and_say_how_the_best_size_grows():
    fit = fit_chinchilla(*runs(noise=2e-3), bootstrap=60)
    ends = fit.interval(0.99)
    assert all(low <= value <= high for (low, high), value in zip(ends, values(LAW), strict=True))
    assert "the best model size grows like C^(0.5" in fit.statements[-1]


def test_a_short_range_of_tokens_does_not_identify_its_exponent():
    rng = np.random.default_rng(0)
    n = np.geomspace(1e8, 1e9, 10)
    d = 1e11 * (1 + 0.1 * np.arange(10) / 10)
    losses = LAW(n, d) * np.exp(3e-3 * rng.standard_normal(10))
    assert "beta is not identified" in " ".join(
        fit_chinchilla(n, d, losses, bootstrap=40).statements
    )


@pytest.mark.parametrize(
    ("n", "d", "losses", "message"),
    [
        ([1e8] * 5, [1e9] * 5, [3.0] * 5, "at least six runs"),
        ([1e8] * 6, [1e9, 2e9] * 3, [3.0] * 6, "one value of model sizes"),
        ([1e8, 2e8] * 3, [1e9, 2e9, 3e9] * 2, [3.0, np.nan] * 3, "positive and finite"),
    ],
)
def test_runs_that_cannot_carry_the_law_are_refused(n, d, losses, message):
    with pytest.raises(ValueError, match=message):
        fit_chinchilla(n, d, losses)
