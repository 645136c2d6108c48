"""Gains too small to be taken one by one, tried together where a search has come to rest."""

import itertools
import json
import math

import pytest

from adana.tune import Rules, Stopped, tune
from adana.tune.combination import candidates
from adana.tune.joint import check_jointly
from adana.tune.sweep import Sweep
from tests.tune.landscapes import DECAY, LR, Inline, bowl, octaves

OFF = (LR.starting_at(0.002), DECAY.starting_at(4.0))
"""An octave below the bowl's minimum in both, which is worth 0.02 and 0.01."""
MINIMUM = {"lr": 0.004, "decay": 8.0}


def run(function, runner=None, folder=None, seen=None, **rules):
    seen = [] if seen is None else seen
    return tune(
        function,
        OFF,
        rules=Rules(**rules),
        runner=runner or Inline(),
        folder=folder,
        on_progress=seen.append,
    )


def test_gains_within_the_threshold_one_by_one_are_taken_if_together_they_exceed_it():
    result = run(bowl, delta1=0.025)
    assert result.best == MINIMUM
    assert result.loss == 3.0
    assert result.descent.converged
    (combination,) = result.combinations
    assert combination.before == {"lr": 0.002, "decay": 4.0}
    assert combination.values == MINIMUM
    assert combination.verdict == (
        "all that gained a little tried together (lr 0.002 -> 0.004, decay 4.0 -> 8.0): gains 0.03 "
        "on the seeds of the search, more than 0.025; taken"
    )


def test_gains_that_are_too_small_together_are_left():
    result = run(bowl, delta1=0.031)
    assert result.best == {"lr": 0.002, "decay": 4.0}
    (combination,) = result.combinations
    assert not combination.moved
    assert combination.verdict.endswith(
        "gains 0.03 on the seeds of the search; 0.031 is what counts"
    )


def test_it_costs_one_configuration_and_none_where_less_than_two_gained():
    def runs(function, **rules):
        runner = Inline()
        return run(function, runner, **rules), runner.runs

    result, several = runs(bowl, delta1=0.031)
    values = [move.sweep.values for move in result.descent.passes[-1]]
    assert several == sum(map(len, values)) - 1 + 1  # the rest is in both sweeps
    result, _ = runs(lambda config: bowl({"lr": config["lr"]}), delta1=0.031)
    assert result.combinations == ()


def lucky(config):
    """Seed 0 flatters both neighbours; the others see a level plain, a little noisy."""
    if config["seed"] == 0:
        return bowl(config)
    return 3.03 + 0.001 * config["seed"]


def test_it_is_judged_on_seeds_that_did_not_choose_it():
    result = run(lucky, noise_seeds=4, delta1=0.025)
    (combination,) = result.combinations
    assert combination.seeds == (1, 2, 3)
    assert combination.gain == pytest.approx(0.0)
    assert result.best == {"lr": 0.002, "decay": 4.0}
    assert "0 on seeds that did not choose them; 0.025 is what counts" in combination.verdict


def shaky(config):
    return bowl(config) + 0.015 * math.sin(9 * config["seed"])


def test_more_seeds_tell_smaller_gains():
    result = run(shaky, noise_seeds=9)
    combination = result.combinations[0]
    assert combination.seeds == tuple(range(1, 9))
    # delta1 is that of a difference of means of 8 seeds, where the search compares single ones.
    assert combination.delta1 == pytest.approx(result.floor.delta1 / math.sqrt(8))
    assert combination.moved
    assert result.best == MINIMUM
    fewer = run(shaky, seeds=3, noise_seeds=5, delta1=0.025).combinations[0]
    assert fewer.seeds == (0, 1, 2)  # 2 others are less than 3


def sheer(config):
    """The bowl, but the two values that gain diverge together."""
    both = config["lr"] > 0.002 and config["decay"] > 4
    return math.nan if both else bowl(config)


def test_a_combination_that_diverges_is_left():
    result = run(sheer, delta1=0.025)
    assert result.best == {"lr": 0.002, "decay": 4.0}
    assert result.combinations[0].verdict.endswith("diverged")
    assert result.to_dict()["together"][0]["gain"] == -math.inf


@pytest.mark.parametrize(
    ("seeds", "taken", "words"),
    [
        ((0,), False, "diverged"),  # a seed of the search, which would go on with it
        ((2,), False, "diverged"),
        ((), True, "gains 0.03 on seeds that did not choose them, more than 0.025; taken"),
    ],
)
def test_it_has_to_train_on_all_seeds(seeds, taken, words):
    def steep(config):
        both = config["lr"] > 0.002 and config["decay"] > 4
        return math.nan if both and config["seed"] in seeds else bowl(config)

    result = run(steep, noise_seeds=3, delta1=0.025)
    assert (result.best == MINIMUM) is taken
    assert result.combinations[0].verdict.endswith(words)


def test_where_only_the_best_diverges_the_combination_is_taken():
    def lucky_start(config):
        start = (config["lr"], config["decay"]) == (0.002, 4.0)
        return math.nan if start and config["seed"] == 2 else bowl(config)

    result = run(lucky_start, noise_seeds=3, delta1=0.025)
    assert result.best == MINIMUM
    assert "where the best diverged; taken" in result.combinations[0].verdict
    assert result.to_dict()["together"][0]["gain"] == math.inf


def test_a_single_pair_that_was_checked_is_not_tried_again():
    result = run(bowl, delta1=0.031, joint=(("lr", "decay"),))
    assert result.combinations == ()
    assert result.joints[0].gain == pytest.approx(0.03)


def terrace(config):
    """Beyond the minimum of the bowl lies more, but only from there."""
    below = min(octaves(config, "lr", 0.004), 0) or min(octaves(config, "decay", 8), 0)
    return bowl(config) if below else bowl(config) - 0.1 * (config["lr"] > 0.004)


def test_the_search_goes_on_from_what_was_taken():
    result = run(terrace, delta1=0.025)
    assert result.best["lr"] > 0.004
    assert result.combinations[0].values == MINIMUM
    assert result.descent.converged
    assert result.remarks[0].endswith(
        f"taken; from there the search went on to lr {result.best['lr']}"
    )


def test_of_a_pair_and_its_two_alone_the_larger_gain_counts():
    def losses(configs):
        return {name: bowl(config) for name, config in configs.items()}

    check = check_jointly(losses, {"lr": 0.002, "decay": 4.0}, LR, DECAY, delta1=1.0)
    assert check.changes == MINIMUM
    alone = Sweep("lr", (0.001, 0.002), (3.0, 3.2), before=0.002)
    other = Sweep("clip", (1.0, 2.0), (3.0, 3.001), before=2.0)
    still = Sweep("decay", (4.0, 8.0), (3.0, 3.0), before=4.0)
    assert candidates([alone, other, still], [check]) == {"lr": 0.001, "clip": 1.0}
    slight = Sweep("lr", (0.001, 0.002), (3.0, 3.01), before=0.002)
    assert candidates([other, slight, still], [check]) == {"clip": 1.0, **MINIMUM}


@pytest.mark.parametrize("rules", [{"delta1": 0.025}, {"noise_seeds": 3, "delta1": 0.025}])
def test_the_count_of_runs_knows_of_it(rules):
    seen = []
    run(shaky if "noise_seeds" in rules else bowl, seen=seen, **rules)
    assert "trying all that gained a little together" in {one.stage for one in seen}
    assert all(one.runs <= one.expected for one in seen)
    assert all(a.runs <= b.runs for a, b in itertools.pairwise(seen))
    assert seen[-1].runs == seen[-1].expected


@pytest.mark.parametrize("stop_after", [5, 6, 7])
def test_a_search_stopped_around_it_goes_on_to_the_same_end(tmp_path, stop_after):
    whole = Inline()
    expected = run(bowl, whole, delta1=0.025)
    with pytest.raises(Stopped):
        run(bowl, Inline(stop_after), tmp_path, delta1=0.025)
    rest = Inline()
    result = run(bowl, rest, tmp_path, delta1=0.025)
    assert result.best == expected.best
    assert result.combinations == expected.combinations
    assert rest.runs == whole.runs - stop_after
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["together"][0]["values"] == MINIMUM
