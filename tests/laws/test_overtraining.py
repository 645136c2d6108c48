"""The overtraining exponent of known laws is found, and its interval keeps its level."""

import numpy as np
import pytest

from adana.laws import Curve, LossLaw, Observation
from adana.laws.overtraining import overtraining_exponent

BASELINE = LossLaw(a=2.2, b=1.1, c=0.28)
HORIZONS = np.array([1.0, 2, 4, 8, 16, 32, 64])
SIZES = {"50M": 0.9, "124M": 1.1}
TRUTH = 1.15


def curve(name, horizons, losses, rng=None, seeds=1, sigma=0.002):
    noise = 0 if rng is None else sigma * rng.standard_normal((len(horizons), seeds))
    rows = losses[:, None] * np.exp(noise + np.zeros((len(horizons), seeds)))
    return Curve(name, tuple(Observation(f, tuple(r)) for f, r in zip(horizons, rows, strict=True)))


def study(exponent=TRUTH, rng=None, seeds=1):
    return {
        size: (
            curve("adamw", 2 * HORIZONS, BASELINE(2 * HORIZONS), rng, seeds),
            curve("adana", HORIZONS[1:], BASELINE(k * HORIZONS[1:] ** exponent), rng, seeds),
        )
        for size, k in SIZES.items()
    }


def test_the_exponent_and_factors_of_exact_curves_are_found():
    found = overtraining_exponent(study())
    assert found.exponent == pytest.approx(TRUTH, abs=0.005)
    assert found.factors == pytest.approx(SIZES, rel=0.02)
    for size, k in SIZES.items():
        assert found.multiplier(size, 8.0) == pytest.approx(k * 8 ** (TRUTH - 1), rel=0.01)


def test_without_seeds_the_statement_says_where_the_interval_comes_from():
    found = overtraining_exponent(study())
    assert "scatter" in found.statements[-1]
    assert found.low <= found.exponent <= found.high


def test_an_exponent_of_one_is_not_separable_and_a_large_one_grows():
    rng = np.random.default_rng(0)
    same = overtraining_exponent(study(1.0, rng, seeds=3))
    assert "not separable" in same.statements[0]
    grown = overtraining_exponent(study(1.3, rng, seeds=3))
    assert "grows" in grown.statements[0]


def test_losses_that_the_baseline_did_not_reach_are_left_out_and_counted():
    candidate = curve("adana", HORIZONS, BASELINE(4 * HORIZONS**TRUTH))
    baseline = curve("adamw", HORIZONS, BASELINE(HORIZONS))
    found = overtraining_exponent({"50M": (baseline, candidate)})
    assert found.exponent == pytest.approx(TRUTH, abs=0.01)
    assert len(found.points["50M"]) == 4
    assert any("3 of 7 losses of adana lie outside" in text for text in found.statements)


def test_a_baseline_that_rises_cannot_say():
    baseline = curve("adamw", HORIZONS, BASELINE(1 / HORIZONS))
    candidate = curve("adana", HORIZONS, BASELINE(HORIZONS))
    found = overtraining_exponent({"50M": (baseline, candidate)})
    assert np.isnan(found.exponent)
    assert "must fall" in found.statements[0]


def test_the_interval_holds_the_truth_at_its_level():
    rng = np.random.default_rng(1)
    rows = 300
    held = 0
    for _ in range(rows):
        found = overtraining_exponent(study(TRUTH, rng, seeds=2), replicates=400)
        held += found.low <= TRUTH <= found.high
    assert held / rows == pytest.approx(0.9, abs=0.05)
