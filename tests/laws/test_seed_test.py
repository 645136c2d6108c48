"""The pairwise seed test, its rules, and how many seeds it takes."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from adana.laws.seed_test import SeedRule, needed_seeds, seed_test


def test_with_pooled_noise_it_is_students_test():
    rng = np.random.default_rng(0)
    baseline, candidate = 3.0 + 0.01 * rng.standard_normal(5), 2.99 + 0.01 * rng.standard_normal(4)
    found = seed_test(baseline.tolist(), candidate.tolist())
    theirs = ttest_ind(baseline, candidate, alternative="greater")
    assert found.statistic == pytest.approx(theirs.statistic)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.freedom == 7


def test_a_known_sigma_gives_the_speed_runs_rule():
    rule = SeedRule(significance=0.001, sigma=0.0013)
    assert seed_test([3.2841] * 4, [3.28] * 4, rule).passed
    assert not seed_test([3.2841], [3.28], rule).passed


def test_a_margin_asks_for_more_than_a_difference():
    baseline, candidate = [3.02, 3.021, 3.019], [3.0, 3.001, 2.999]
    assert seed_test(baseline, candidate).passed
    assert not seed_test(baseline, candidate, SeedRule(margin=0.0195)).passed


def test_other_groups_take_part_in_the_noise():
    alone = seed_test([3.0, 3.01], [2.9])
    more = seed_test([3.0, 3.01], [2.9], others=[[5.0, 5.01], [4.0, 4.01, 4.02]])
    assert (alone.freedom, more.freedom) == (1, 4)


def test_without_a_second_seed_the_noise_must_be_known():
    with pytest.raises(ValueError, match="no group has two seeds"):
        seed_test([3.0], [2.9])
    assert seed_test([3.0], [2.9], SeedRule(sigma=0.01)).passed


def test_equal_optimizers_pass_as_often_as_the_rule_allows():
    rng = np.random.default_rng(1)
    runs = rng.standard_normal((2000, 2, 3))
    rule = SeedRule(significance=0.1)
    passed = [seed_test(*pair, rule).passed for pair in runs]
    assert np.mean(passed) == pytest.approx(0.1, abs=0.03)


def test_the_needed_seeds_show_the_difference_as_often_as_promised():
    sigma, difference = 0.01, 0.012
    seeds = needed_seeds(difference, sigma, significance=0.05, power=0.9, known=True)
    rng = np.random.default_rng(2)
    rule = SeedRule(significance=0.05, sigma=sigma)
    passed = []
    for _ in range(2000):
        baseline, candidate = sigma * rng.standard_normal((2, seeds))
        passed.append(seed_test(baseline + difference, candidate, rule).passed)
    assert 0.88 < np.mean(passed) < 0.96


@pytest.mark.parametrize("rule", [{"significance": 0.0}, {"significance": 0.7}, {"sigma": 0.0}])
def test_a_rule_that_makes_no_sense_is_refused(rule):
    with pytest.raises(ValueError, match="got"):
        SeedRule(**rule)


@pytest.mark.parametrize("losses", [[], [3.0, float("nan")], [3.0, float("inf")]])
def test_losses_that_are_no_numbers_are_refused(losses):
    for pair in ((losses, [3.0, 3.1]), ([3.0, 3.1], losses)):
        with pytest.raises(ValueError, match="must be finite final losses"):
            seed_test(*pair)


@pytest.mark.parametrize("wrong", [{"significance": 0.7}, {"power": 1.0}])
def test_seeds_for_a_test_that_makes_no_sense_are_not_counted(wrong):
    with pytest.raises(ValueError, match="got"):
        needed_seeds(0.01, 0.01, **wrong)


def test_no_number_of_seeds_shows_a_difference_of_nothing():
    with pytest.raises(ValueError, match="no number of seeds"):
        needed_seeds(0.0, 0.01)


def test_where_the_noise_is_measured_too_the_needed_seeds_still_show_the_difference():
    sigma, difference = 0.01, 0.03
    seeds = needed_seeds(difference, sigma, significance=0.01, power=0.9)
    assert seeds > needed_seeds(difference, sigma, significance=0.01, power=0.9, known=True)
    rng = np.random.default_rng(3)
    rule = SeedRule(significance=0.01)
    passed = []
    for _ in range(2000):
        baseline, candidate = sigma * rng.standard_normal((2, seeds))
        passed.append(seed_test(baseline + difference, candidate, rule).passed)
    assert 0.88 < np.mean(passed) < 0.98


def test_the_same_losses_without_noise_are_not_better():
    assert not seed_test([3.0, 3.0], [3.0, 3.0]).passed
    assert seed_test([3.0, 3.0], [2.9, 2.9]).passed
