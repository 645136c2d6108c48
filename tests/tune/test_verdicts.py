"""The rules that decide: what differences count, and which hyperparameters need a rule."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from adana.tune import Log, NoiseFloor, Problem, Rules, Scale, noise_floor, tune_scales
from adana.tune.noise import pooled_sigma
from adana.tune.sensitivity import sensitivities
from adana.tune.sweep import Sweep
from adana.tune.trial import FunctionObjective
from tests.tune.landscapes import Inline, octaves

# --- noise ----------------------------------------------------------------------------------------


def test_sigma_is_pooled_over_scales_and_leaves_divergence_out():
    assert pooled_sigma([[1.0, 3.0], [10.0, 10.0, 10.0]]) == (pytest.approx((2 / 3) ** 0.5), 3)
    assert pooled_sigma([[1.0, math.inf, 3.0], [5.0], []]) == (pytest.approx(2**0.5), 1)
    assert pooled_sigma([[1.0], [math.inf, 2.0]]) == (0.0, 0)


def test_without_seeds_the_published_thresholds_hold():
    floor = noise_floor([[3.1]])
    assert (floor.delta1, floor.delta2) == (3e-3, 6.4e-3)
    assert "no noise was measured" in floor.source
    assert floor == NoiseFloor()


def test_more_seeds_of_every_configuration_let_smaller_differences_count():
    groups = [[1.0, 1.1, 1.2]]
    assert noise_floor(groups, 4).delta1 == pytest.approx(noise_floor(groups, 1).delta1 / 2)


def test_given_thresholds_hold_whatever_the_noise():
    assert noise_floor([[1.0, 2.0]], delta1=0.5, delta2=0.7).delta2 == 0.7
    assert noise_floor([[1.0, 2.0]], delta1=0.5).delta1 == 0.5
    for wrong in ({"delta1": -1.0}, {"delta1": 0.2, "delta2": 0.1}, {"delta1": math.nan}):
        with pytest.raises(ValueError, match="expected 0 <= delta1 <= delta2"):
            noise_floor([], **wrong)


def test_noise_alone_exceeds_delta1_in_one_of_twenty_cases():
    random = np.random.default_rng(0)
    exceeded = []
    for _ in range(4000):
        floor = noise_floor([random.normal(size=3), random.normal(size=3)], seeds=2)
        one, other = random.normal(size=(2, 2)).mean(axis=1)
        exceeded.append(one - other > floor.delta1)
    assert np.mean(exceeded) == pytest.approx(0.05, abs=0.012)


# --- sensitivity ----------------------------------------------------------------------------------

SMALL, MORE_DATA, LARGER = Scale("s", 1e6, 1e7), Scale("d", 1e6, 8e7), Scale("m", 4e6, 1e7)
BOTH = Scale("b", 4e6, 8e7)
BEST_AT_2 = Sweep("x", (1, 2, 4), (3.2, 3.0, 3.2), before=2)
BEST_AT_4 = Sweep("x", (1, 2, 4), (3.5, 3.1, 3.0), before=2)
FLAT = Sweep("x", (1, 2, 4), (3.001, 3.0, 3.001), before=2)
ELSEWHERE = Sweep("x", (8, 16), (3.0, 3.2), before=8)
DIVERGES = Sweep("x", (1, 2, 4), (3.0, math.inf, math.inf), before=1)


@pytest.mark.parametrize(
    ("sweeps", "verdict", "common", "moved_by", "cost"),
    [
        ({SMALL: BEST_AT_2, MORE_DATA: BEST_AT_2}, "insensitive", (2,), (), 0.0),
        ({SMALL: FLAT, MORE_DATA: BEST_AT_4}, "insensitive", (4,), (), 0.001),
        ({SMALL: BEST_AT_2, MORE_DATA: BEST_AT_4}, "sensitive", (), ("data",), 0.1),
        ({SMALL: BEST_AT_2, LARGER: BEST_AT_4}, "sensitive", (), ("model",), 0.1),
        ({SMALL: BEST_AT_2, BOTH: BEST_AT_4}, "sensitive", (), (), 0.1),
        (
            {SMALL: BEST_AT_2, MORE_DATA: BEST_AT_4, LARGER: BEST_AT_4, BOTH: BEST_AT_4},
            *("sensitive", (), ("data", "model"), 0.1),
        ),
        (
            {SMALL: BEST_AT_2, MORE_DATA: BEST_AT_2, LARGER: BEST_AT_4, BOTH: BEST_AT_4},
            *("sensitive", (), ("model",), 0.1),
        ),
        ({SMALL: BEST_AT_2, MORE_DATA: ELSEWHERE}, "unknown", (), (), math.nan),
        ({SMALL: BEST_AT_4, MORE_DATA: DIVERGES}, "sensitive", (), ("data",), 0.5),
        ({SMALL: BEST_AT_2}, "unknown", (2,), (), 0.0),
    ],
)
def test_the_verdict_on_a_hyperparameter(sweeps, verdict, common, moved_by, cost):
    (own,) = sensitivities({scale: {"x": sweep} for scale, sweep in sweeps.items()}, 0.005)
    assert (own.verdict, own.common, own.moved_by) == (verdict, common, moved_by)
    assert own.cost == pytest.approx(cost, nan_ok=True)


def test_a_statement_names_the_price_and_the_cause():
    (own,) = sensitivities({SMALL: {"x": BEST_AT_2}, MORE_DATA: {"x": BEST_AT_4}}, 0.005)
    assert own.statement == (
        "x: sensitive, the best single value 2 costs up to 0.1; more data moves it"
    )
    assert own.spread == pytest.approx(0.5)


# --- several scales -------------------------------------------------------------------------------


def moving(config):
    """The best lr falls with size as 1/size; the best decay is 8 at every size."""
    return (
        3
        + 0.02 * octaves(config, "lr", 0.016 / config["size"]) ** 2
        + 0.02 * octaves(config, "decay", 8) ** 2
    )


def problems(*sizes):
    objective = FunctionObjective(moving)
    space = (Log("lr", (0.004, 0.008, 0.016), 0.008), Log("decay", (4.0, 8.0, 16.0), 4.0))
    return [
        Problem(objective, space, Scale(f"size {size}", size, 1000), {"size": size})
        for size in sizes
    ]


def test_a_search_at_several_scales_finds_what_moves_and_why():
    study = tune_scales(problems(8, 1, 4), runner=Inline())
    assert [result.best["lr"] for result in study.scales] == [0.016, 0.004, 0.002]
    assert {result.best["decay"] for result in study.scales} == {8.0}
    lr, decay = study.sensitivities
    assert (lr.name, lr.verdict, lr.moved_by) == ("lr", "sensitive", ("model",))
    assert (decay.name, decay.verdict, decay.common) == ("decay", "insensitive", (8.0,))
    # 0.004 or 0.008, an octave or two from the ends: 0.02 * 2^2 at worst.
    assert lr.cost == pytest.approx(0.08)


def test_the_next_scale_begins_with_the_best_of_the_nearest():
    study = tune_scales(problems(1, 2, 8), runner=Inline())
    assert [result.warm_start for result in study.scales] == ["", "size 1", "size 2"]
    assert study.scales[2].start == {"size": 8, "lr": 0.008, "decay": 8.0}


def test_the_whole_search_knows_what_it_cost():
    runner = Inline()
    study = tune_scales(problems(1, 8), runner=runner)
    assert study.budget.runs == runner.runs
    assert study.budget == study.scales[0].budget + study.scales[1].budget


def test_the_count_of_runs_ends_at_what_was_expected():
    seen = []
    tune_scales(
        problems(1, 8), Rules(joint=(("lr", "decay"),)), runner=Inline(), on_progress=seen.append
    )
    assert seen[-1].stage == "done"
    assert seen[-1].runs == seen[-1].expected
    assert all(a.runs <= b.runs for a, b in itertools.pairwise(seen))
    assert all(one.runs <= one.expected for one in seen)
    assert seen[-1].eta == 0


def test_the_count_knows_the_noise_measured_again_and_the_values_tried_at_other_scales():
    seen = []
    tune_scales(problems(1, 8), Rules(noise_seeds=3), runner=Inline(), on_progress=seen.append)
    total = seen[-1].runs
    entered = [one for before, one in itertools.pairwise(seen) if one.stage != before.stage]
    filling = [one for one in entered if one.stage.startswith("trying the best values")]
    assert [one.expected for one in filling] == [total]
    assert filling[0].runs < total
    noise = [one for one in entered if one.stage == "measuring the noise" and one.scale == "size 8"]
    # What ends a search, two more seeds of its best values, is expected before and in it.
    assert noise[-1].expected - noise[-1].runs == 2
    before = seen[seen.index(noise[-1]) - 1]
    assert before.expected - before.runs >= 2
    assert all(one.eta for one in seen if 0 < one.runs < one.expected)


def restless(config):
    """The bowl of `moving` with noise that grows with size; the seed is what differs."""
    return moving(config) + 1e-4 * config["size"] ** 2 * (config["seed"] - 1)


def test_each_scale_keeps_the_thresholds_that_its_moves_were_decided_with():
    several = [
        dataclasses.replace(p, objective=FunctionObjective(restless)) for p in problems(1, 8)
    ]
    study = tune_scales(several, Rules(noise_seeds=3), runner=Inline())
    small, large = (result.floor for result in study.scales)
    alone = tune_scales(several[:1], Rules(noise_seeds=3), runner=Inline()).floor
    assert small == alone
    assert large == study.floor
    assert large.delta1 > 10 * small.delta1
    kept = [own["thresholds"]["delta1"] for own in study.to_dict()["scales"]]
    assert kept == [small.delta1, large.delta1]


def test_two_scales_of_one_name_are_refused():
    with pytest.raises(ValueError, match="scales with different names"):
        tune_scales(problems(1, 1), runner=Inline())
