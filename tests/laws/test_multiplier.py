"""The compute multiplier: exact where measured, silent elsewhere, with an interval that holds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.laws import (
    Observation,
    compute_multiplier,
    mean_and_standard_error,
    pooled_variance,
    steps_to_reach,
)

HORIZONS = (1.0, 2.0, 4.0)


def power_law(compute: float) -> float:
    return 3.0 * compute**-0.07


def curve(horizons: tuple[float, ...] = HORIZONS) -> list[Observation]:
    return [Observation(c, (power_law(c),)) for c in horizons]


@given(multiplier=st.floats(0.55, 1.9))
def test_a_power_law_baseline_gives_the_exact_multiplier(multiplier: float) -> None:
    found = compute_multiplier(Observation(2.0, (power_law(2.0 * multiplier),)), curve())
    assert found.value == pytest.approx(multiplier, rel=1e-9)


@given(
    losses=st.lists(st.floats(1.0, 9.0), min_size=2, max_size=6, unique=True),
    index=st.integers(0, 5),
)
def test_the_baseline_against_itself_is_one(losses: list[float], index: int) -> None:
    baseline = [Observation(2.0**i, (loss,)) for i, loss in enumerate(sorted(losses, reverse=True))]
    own = baseline[index % len(baseline)]
    assert compute_multiplier(own, baseline).value == pytest.approx(1.0)


@given(unit=st.floats(1e-6, 1e6))
def test_the_unit_of_compute_does_not_matter(unit: float) -> None:
    baseline = [Observation(unit * seen.compute, seen.losses) for seen in curve()]
    found = compute_multiplier(Observation(2.0 * unit, (power_law(3.0),)), baseline)
    assert found.value == pytest.approx(1.5)


def test_the_order_of_the_horizons_does_not_matter() -> None:
    candidate = Observation(2.0, (power_law(3.0),))
    assert compute_multiplier(candidate, curve()[::-1]) == compute_multiplier(candidate, curve())


def test_a_loss_below_the_longest_baseline_gives_a_lower_bound_only() -> None:
    found = compute_multiplier(Observation(2.0, (power_law(5.0),)), curve())
    assert (found.value, found.above, found.below) == (None, pytest.approx(2.0), None)
    assert "longer horizon" in found.reason
    assert "M > 2" in found.reason


def test_a_loss_above_the_shortest_baseline_gives_an_upper_bound_only() -> None:
    found = compute_multiplier(Observation(2.0, (power_law(0.9),)), curve())
    assert (found.value, found.above, found.below) == (None, None, pytest.approx(0.5))
    assert "shorter horizon" in found.reason


def test_one_horizon_still_says_better_or_worse() -> None:
    better = compute_multiplier(Observation(2.0, (2.0,)), [Observation(2.0, (2.1,))])
    worse = compute_multiplier(Observation(2.0, (2.2,)), [Observation(2.0, (2.1,))])
    assert (better.above, worse.below) == (1.0, 1.0)


def test_a_baseline_that_does_not_fall_is_refused_in_words() -> None:
    baseline = [Observation(1.0, (3.0,)), Observation(2.0, (2.9,)), Observation(4.0, (2.95,))]
    found = compute_multiplier(Observation(2.0, (2.92,)), baseline)
    assert (found.value, found.above, found.below) == (None, None, None)
    assert "does not fall" in found.reason


def test_one_seed_everywhere_gives_no_interval_and_says_why() -> None:
    found = compute_multiplier(Observation(2.0, (power_law(3.0),)), curve())
    assert (found.low, found.high) == (None, None)
    assert "two seeds" in found.note


def test_the_same_runs_give_the_same_interval_and_more_noise_a_wider_one() -> None:
    def interval(noise: float) -> tuple[float, float]:
        loss = power_law(3.0)
        candidate = Observation(2.0, (loss - noise, loss + noise))
        found = compute_multiplier(candidate, curve())
        assert found.low is not None
        assert found.high is not None
        return found.low, found.high

    assert interval(0.002) == interval(0.002)
    small, large = interval(0.001), interval(0.003)
    assert large[0] < small[0] < 1.5 < small[1] < large[1]


def test_replicates_beyond_the_measured_range_open_the_interval() -> None:
    loss = power_law(3.9)
    losses = (loss - 0.01, loss - 0.01, loss + 0.01, loss + 0.01)
    found = compute_multiplier(Observation(2.0, losses), curve())
    assert found.value == pytest.approx(1.95, rel=1e-3)
    assert found.high is None
    assert found.low is not None
    assert found.low < 1.95
    assert "beyond the longest baseline" in found.note


def test_a_candidate_far_beyond_the_baseline_keeps_the_bound_as_its_low_end() -> None:
    loss = power_law(40.0)
    found = compute_multiplier(Observation(2.0, (loss - 1e-4, loss + 1e-4)), curve())
    assert (found.value, found.low, found.high) == (None, pytest.approx(2.0), None)


def test_noise_as_large_as_the_curve_leaves_nothing_known() -> None:
    candidate = Observation(2.0, (power_law(3.0) - 0.5, power_law(3.0) + 0.5))
    found = compute_multiplier(candidate, curve())
    assert (found.low, found.high) == (None, None)
    assert "does not fall" in found.note


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(5)
    noise, truth, studies = 0.006, 1.4, 300
    covered = 0
    for _ in range(studies):

        def draw(compute: float, loss: float) -> Observation:
            return Observation(compute, tuple(loss + noise * rng.standard_normal(seeds)))

        baseline = [draw(c, power_law(c)) for c in HORIZONS]
        candidate = draw(2.0, power_law(2.0 * truth))
        found = compute_multiplier(candidate, baseline, replicates=1000)
        low, high = found.low or 0.0, found.high or math.inf
        covered += low <= truth <= high
    assert 0.85 <= covered / studies <= 0.95


@pytest.mark.parametrize(
    ("compute", "losses"), [(0.0, (3.0,)), (1.0, ()), (1.0, (math.nan,)), (math.inf, (3.0,))]
)
def test_an_observation_refuses_what_is_not_a_positive_number(
    compute: float, losses: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        Observation(compute, losses)


def test_two_observations_of_one_compute_are_refused() -> None:
    with pytest.raises(ValueError, match="one Observation"):
        compute_multiplier(Observation(1.0, (3.0,)), [*curve(), *curve()])


def test_a_level_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        compute_multiplier(Observation(1.0, (3.0,)), curve(), level=90)


def test_steps_to_reach_interpolates_the_first_crossing() -> None:
    assert steps_to_reach([0, 100, 200, 300], [5.0, 4.0, 3.0, 3.5], 3.25) == 175
    assert steps_to_reach([0, 100], [5.0, 4.0], 3.9) is None
    assert steps_to_reach([50, 100], [3.0, 2.0], 3.5) == 50
    assert steps_to_reach([0, 100, 200], [5.0, math.nan, 3.0], 4.0) == 100
    with pytest.raises(ValueError, match="one loss a step"):
        steps_to_reach([0, 100], [5.0], 3.9)


def test_mean_and_standard_error_match_the_textbook() -> None:
    mean, error = mean_and_standard_error([1.0, 2.0, 3.0])
    assert (mean, error) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert mean_and_standard_error([4.0]) == (4.0, None)
    with pytest.raises(ValueError, match="at least one"):
        mean_and_standard_error([])


def test_pooled_variance_ignores_groups_of_one() -> None:
    assert pooled_variance([[1.0, 3.0], [7.0], [2.0, 2.0]]) == (pytest.approx(1.0), 2)
    assert pooled_variance([[1.0], [2.0]]) == (0.0, 0)


def test_a_candidate_that_scatters_otherwise_than_the_baseline_is_said_to() -> None:
    baseline = [Observation(c, (power_law(c) - 1e-4, power_law(c) + 1e-4)) for c in HORIZONS]
    loss = power_law(2.0)
    noisy = compute_multiplier(Observation(1.5, (loss - 0.01, loss + 0.01)), baseline)
    assert "the candidate's seeds scatter 1e+02 times as much as the baseline's" in noisy.note
    alike = compute_multiplier(Observation(1.5, (loss - 1e-4, loss + 1e-4)), baseline)
    assert "scatter" not in alike.note


def test_seeds_that_all_ended_alike_give_no_interval() -> None:
    found = compute_multiplier(
        Observation(1.0, (2.95, 2.95)), [Observation(1, (3.0, 3.0)), Observation(2, (2.9, 2.9))]
    )
    assert found.value == pytest.approx(2**0.4958, rel=1e-3)
    assert found.low is found.high is None
    assert "copies of one run" in found.note


def test_the_bend_of_the_baseline_widens_the_interval_on_the_side_of_less() -> None:
    def law(c: float) -> float:
        return 1.7 + 1.9 * c**-0.3

    def seeds(c: float, loss: float) -> Observation:
        return Observation(c, (loss - 2e-5, loss + 2e-5))

    candidate = seeds(1.0, law(2.0))
    three = [seeds(c, law(c)) for c in (1.0, 4.0, 16.0)]
    found = compute_multiplier(candidate, three)
    assert found.value is not None
    assert found.low is not None
    assert found.value > 2.02  # a line between the horizons flatters the candidate
    assert found.low < 2.01
    two = compute_multiplier(candidate, three[:2])
    assert two.low is not None
    assert two.low > 2.05
    assert "two horizons show no bend" in two.note
