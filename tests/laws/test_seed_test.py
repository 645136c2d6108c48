"""Tests over seeds keep their rate of false claims, and say what they cannot tell."""

import numpy as np
import pytest

from adana.laws.seed_test import Rule, compare_all_pairs, compare_seeds, needed_seeds

ROWS = 1000


def draws(seed, difference=0.0, seeds=3, sigma=0.002):
    rng = np.random.default_rng(seed)
    for _ in range(ROWS):
        noise = sigma * rng.standard_normal((2, seeds))
        yield {"base": 3.0 + noise[0], "new": 3.0 - difference + noise[1]}


def share(answer, groups, rule):
    return np.mean([compare_seeds(group, "new", "base", rule).answer == answer for group in groups])


def test_false_claims_come_at_the_rate_of_the_rule_with_a_pooled_spread_of_few_seeds():
    rate = share("better", draws(0), Rule(alpha=0.05))
    assert rate == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / ROWS))


def test_the_known_spread_makes_it_the_z_test_of_track_3():
    """Valid below 3.28 if (3.28 - mean) sqrt(n) >= 0.004 at sigma 0.0013: p < 0.001."""
    lead = 0.004 / np.sqrt(8)
    rule = Rule(sigma=0.0013)
    groups = {"target": [3.28] * 10**5, "run": [3.28 - 1.01 * lead] * 8}
    found = compare_seeds(groups, "run", "target", rule)
    assert found.answer == "better"
    assert found.statistic == pytest.approx(1.01 * 0.004 / 0.0013, rel=1e-3)
    closer = {**groups, "run": [3.28 - 0.99 * lead] * 8}
    assert compare_seeds(closer, "run", "target", rule).answer == "not separable"


def test_a_worse_candidate_is_called_worse():
    losses = {"base": [3.0, 3.001, 2.999], "new": [3.1, 3.101, 3.099]}
    assert compare_seeds(losses, "new", "base").answer == "worse"


def test_a_difference_within_the_margin_is_no_claim():
    losses = {"base": [3.0, 3.0001, 2.9999], "new": [2.99, 2.9901, 2.9899]}
    assert compare_seeds(losses, "new", "base").answer == "better"
    assert compare_seeds(losses, "new", "base", Rule(margin=0.011)).answer == "not separable"


def test_single_seeds_have_no_verdict_and_the_reason_says_what_to_do():
    found = compare_seeds({"base": [3.0], "new": [2.0]}, "new", "base")
    assert found.answer == "not separable"
    assert "run two seeds" in found.reason
    enough = compare_seeds({"base": [3.0], "new": [2.0]}, "new", "base", Rule(sigma=0.1))
    assert "the rule wants 2" in enough.reason


def test_longer_runs_pay_for_their_steps():
    losses = {"base": [3.0, 3.001], "new": [2.99, 2.991]}
    rule = Rule(alpha=0.05, loss_per_step=1e-4)
    steps = {"base": 1000, "new": 1100}
    found = compare_seeds(losses, "new", "base", rule, steps)
    assert found.difference == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="pass steps"):
        compare_seeds(losses, "new", "base", rule)


def test_a_third_group_lends_its_seeds_to_the_spread():
    losses = {"base": [3.0, 3.002], "new": [2.99, 2.993], "other": [2.5, 2.502, 2.501]}
    assert compare_seeds(losses, "new", "base").freedom == 4


def test_all_pairs_together_keep_the_rate_of_one_test():
    rng = np.random.default_rng(2)
    rule = Rule(alpha=0.05)
    wrong = 0
    for _ in range(500):
        groups = {name: 3 + 0.01 * rng.standard_normal(3) for name in "abcd"}
        wrong += any(v.answer != "not separable" for v in compare_all_pairs(groups, rule))
    assert wrong / 500 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 500)


def test_the_needed_seeds_give_the_wanted_power():
    rule = Rule(alpha=0.05)
    seeds = needed_seeds(0.004, 0.002, rule=rule)
    assert share("better", draws(1, 0.004, seeds), rule) > 0.9 - 0.03
    assert share("better", draws(1, 0.004, seeds - 1), rule) < 0.9 + 0.01
    assert needed_seeds(0.004, 0.002, rule=rule, known=True) <= seeds


def test_a_hopeless_difference_is_an_error_and_so_is_a_wrong_rule():
    with pytest.raises(ValueError, match="larger difference"):
        needed_seeds(1e-6, 1.0)
    with pytest.raises(ValueError, match="alpha"):
        Rule(alpha=0.7)
    with pytest.raises(ValueError, match="no group"):
        compare_seeds({"a": [1.0]}, "a", "b")


def test_the_rule_reads_as_a_sentence():
    assert "one-sided p < 0.001" in str(Rule())
    assert "each further step" in str(Rule(loss_per_step=1e-4))
