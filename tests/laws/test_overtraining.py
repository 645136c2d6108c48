"""The equivalent-overtraining exponent of curves whose exponent is known."""

import numpy as np
import pytest

from adana.laws import Curve, LossLaw, Observation
from adana.laws.overtraining import overtraining_exponent
from tests.laws.simulate import Coverage

FACTORS = np.geomspace(1, 128, 15)


def pair(exponent, gain, *, noise=0.0, seeds=1, rng=None, law=None):
    """Return a baseline and a candidate that is worth ``gain f^exponent`` of it."""
    law = law or LossLaw(0.0, 3.0, 0.05)
    rng = rng or np.random.default_rng(0)

    def curve(name, equivalent):
        losses = law(equivalent)[:, None] * np.exp(noise * rng.standard_normal((15, seeds)))
        points = zip(FACTORS, losses, strict=True)
        return Curve(name, tuple(Observation(float(f), tuple(row)) for f, row in points))

    return curve("adamw", FACTORS), curve("adana", gain * FACTORS**exponent)


def test_the_exponent_of_exact_curves_is_found_over_several_sizes():
    pairs = [pair(1.15, 0.7), pair(1.15, 1.2, law=LossLaw(0.0, 3.5, 0.06))]
    found = overtraining_exponent(pairs)
    assert found.exponent == pytest.approx(1.15)
    assert found.low == pytest.approx(found.high)
    assert found.dropped > 0
    assert found.points + found.dropped == 30


def test_a_constant_factor_has_exponent_one():
    found = overtraining_exponent([pair(1.0, 1.5, noise=1e-3, seeds=2)])
    assert found.low < 1 < found.high
    assert "not excluded" in found.statement


def test_its_interval_covers_at_its_rate():
    rng, covered = np.random.default_rng(5), Coverage()
    for i in range(200):
        pairs = [pair(1.1, gain, noise=1e-3, seeds=2, rng=rng) for gain in (0.8, 1.0)]
        found = overtraining_exponent(pairs, replicates=300, seed=i)
        covered.count("p", found.low, found.high, 1.1)
    assert covered.shares()["p"] == pytest.approx(0.9, abs=0.05)


def test_one_seed_uses_the_scatter_of_the_points():
    found = overtraining_exponent([pair(1.15, 0.9, noise=5e-4)])
    assert found.low < 1.15 < found.high


def test_a_baseline_too_short_to_read_anything_off_is_refused():
    baseline, candidate = pair(1.0, 500.0)
    with pytest.raises(ValueError, match="longer horizons"):
        overtraining_exponent([(baseline, candidate)])


def test_no_pairs_at_all_are_refused():
    with pytest.raises(ValueError, match="no pair of curves"):
        overtraining_exponent([])


def test_its_interval_allows_for_the_bend_between_horizons():
    rng, covered = np.random.default_rng(6), Coverage()
    horizons = (1.0, 8.0, 32.0)
    for i in range(100):
        curves = [
            Curve(
                name,
                tuple(
                    Observation(
                        f, tuple((1.9 + (gain * f) ** -0.28) * np.exp(1e-3 * rng.normal(size=2)))
                    )
                    for f in horizons
                ),
            )
            for name, gain in (("adamw", 1.0), ("adana", 1.3))
        ]
        found = overtraining_exponent([(curves[0], curves[1])], replicates=300, seed=i)
        covered.count("p", found.low, found.high, 1.0)
    assert covered.shares()["p"] >= 0.84  # straight lines: 0.73
