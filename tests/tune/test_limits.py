"""Scales whose limits differ: what is best at one may make no sense at another."""

import pytest

from adana.tune import Choice, Integer, Log, Problem, Rules, Scale, tune, tune_scales
from adana.tune.trial import FunctionObjective
from tests.tune.landscapes import LR, Inline, bowl, octaves


def warmed(config):
    """The best warm-up is 64 steps, or as near to it as training of `steps` allows."""
    if config["warmup"] >= config["steps"]:
        raise ValueError(f"a warm-up of {config['warmup']} steps in {config['steps']}")
    return 3 + 0.02 * octaves(config, "warmup", 64) ** 2


def problem(steps, grid, baseline):
    space = (Integer("warmup", grid, baseline, low=1, high=steps // 2, ratio=2),)
    scale = Scale(f"{steps} steps", 1000, steps)
    return Problem(FunctionObjective(warmed), space, scale, {"steps": steps})


SHORT, LONG = problem(24, (2, 4, 8), 4), problem(600, (32, 64, 128), 32)


def test_a_value_beyond_a_scales_limits_is_not_tried_there_and_the_search_ends():
    study = tune_scales([SHORT, LONG], runner=Inline())
    assert [result.best["warmup"] for result in study.scales] == [8, 64]
    short, long = (result.sweeps["warmup"].values for result in study.scales)
    assert max(short) <= 12
    assert 8 in long  # what the longer training allows was filled in
    assert 64 not in short


def test_a_warm_start_beyond_a_scales_limits_begins_at_the_limit():
    study = tune_scales([SHORT], runner=Inline(), known={LONG.scale: {"warmup": 64}})
    (result,) = study.scales
    assert (result.warm_start, result.start["warmup"]) == ("600 steps", 12)
    assert result.best["warmup"] == 12
    small = Log("lr", (0.01, 0.02, 0.04), 0.02, low=0.01, high=0.08)
    assert [small.starting_at(value).baseline for value in (1.0, 0.001)] == [0.08, 0.01]


def test_the_scales_of_a_search_begin_from_each_other_before_any_earlier_search():
    known = {Scale("599 steps", 1000, 599): {"warmup": 256}}
    study = tune_scales([SHORT, LONG], runner=Inline(), known=known)
    assert [result.warm_start for result in study.scales] == ["599 steps", "24 steps"]


def test_a_joint_check_of_a_choice_is_refused_before_anything_runs():
    runner = Inline()
    space = (LR, Choice("form", ("square", "round"), "square"))
    with pytest.raises(ValueError, match="which form, a choice, does not have; name two numbers"):
        tune(bowl, space, rules=Rules(joint=(("lr", "form"),)), runner=runner)
    assert runner.runs == 0
