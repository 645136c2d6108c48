"""The search finds known minima, extends grids, and says where it cannot tell."""

import itertools
import math

import pytest

from adana.tune import (
    Choice,
    FailedTrials,
    Float,
    FunctionObjective,
    Integer,
    Log,
    Rules,
    Stopped,
    tune,
)
from tests.tune.landscapes import (
    DECAY,
    LR,
    SPACE,
    Inline,
    bowl,
    cliff,
    crashes_above_two,
    noisy,
    octaves,
    ridge,
    slanted,
    valley,
)


def run(function, space=SPACE, runner=None, **rules):
    return tune(function, space, rules=Rules(**rules), runner=runner or Inline())


@pytest.mark.parametrize("function", [bowl, slanted])
@pytest.mark.parametrize("start", [*itertools.product([0.0005, 0.004, 0.032], [1.0, 8.0, 32.0])])
def test_a_bowl_is_descended_to_its_minimum_from_anywhere(function, start):
    space = (LR.starting_at(start[0]), DECAY.starting_at(start[1]))
    result = run(function, space, delta1=1e-6, max_passes=30)
    assert result.best == {"lr": 0.004, "decay": 8.0}
    assert result.loss == 3.0
    assert result.descent.converged
    assert result.edges == {}


def test_a_pass_that_moves_nothing_is_the_last():
    moved = [any(move.moved for move in moves) for moves in run(bowl).descent.passes]
    assert moved == [True] * (len(moved) - 1) + [False]
    assert run(valley, delta1=1e-6, max_passes=1).descent.converged is False


def test_a_gain_below_delta1_leaves_the_baseline_as_it_is():
    assert run(bowl, (LR.starting_at(0.002),), delta1=0.0201).best == {"lr": 0.002}
    assert run(bowl, (LR.starting_at(0.002),), delta1=0.0199).best == {"lr": 0.004}


def test_an_optimum_beyond_the_grid_is_found_and_lies_between_worse_values():
    for grid, baseline in (((0.064, 0.128), 0.128), ((0.00025,), 0.00025)):
        sweep = run(bowl, (Log("lr", grid, baseline),)).sweeps["lr"]
        place = sweep.values.index(0.004)
        assert sweep.best_value == 0.004
        assert 0 < place < len(sweep.values) - 1
        assert sweep.edge == ""


def test_the_grid_slides_with_the_optimum_and_keeps_its_length():
    result = run(bowl, (Log("lr", (0.064, 0.128, 0.256), 0.128),))
    assert result.descent.space[0].grid == (0.002, 0.004, 0.008)
    assert [len(moves[0].sweep.values) for moves in result.descent.passes] == [8, 3]


def test_a_hard_limit_ends_the_extension_and_is_named():
    result = run(bowl, (Log("lr", (0.0005, 0.001), 0.001, high=0.002),))
    assert result.best == {"lr": 0.002}
    assert result.edges == {"lr": "higher limit"}


def flat(config):
    return 3 - 1e-5 * octaves(config, "lr", 0.001)


def test_a_slope_too_small_to_matter_is_not_followed_for_ever():
    result = run(flat, (LR,))
    assert result.edges == {"lr": "flat higher"}
    assert result.sweeps["lr"].values[-1] == 0.016
    assert result.best == {"lr": 0.001}


def test_divergence_is_an_infinite_loss_that_brackets_the_optimum():
    result = run(cliff, (LR,))
    assert result.best == {"lr": 0.008}
    losses = dict(zip(result.sweeps["lr"].values, result.sweeps["lr"].losses, strict=True))
    assert losses[0.016] == math.inf
    assert result.edges == {}
    assert result.budget.diverged == 1


def test_where_everything_diverges_the_search_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"every value of lr diverged .*lower learning rate"):
        run(cliff, (Log("lr", (0.1, 0.2), 0.1),))


def test_a_crash_is_no_loss_and_is_run_again():
    objective, runner = FunctionObjective(crashes_above_two), Inline()
    with pytest.raises(FailedTrials, match="disk is full") as failure:
        tune(objective, (LR,), runner=runner, fixed={"decay": 8.0})
    assert set(failure.value.errors) == {"lr=0.004"}
    assert 'raise RuntimeError("a disk is full")' in str(failure.value)  # where it happened
    assert runner.runs == 3
    objective.function = bowl  # the disk has room again
    assert tune(objective, (LR,), runner=runner, fixed={"decay": 8.0}).best["lr"] == 0.004
    assert runner.runs == 3 + 2  # the crashed one, and one beyond the edge


# --- kinds of hyperparameters ---------------------------------------------------------------------


def shapes(config):
    kind = {"cosine": 0.0, "wsd": -0.1, "linear": 0.2}[config["schedule"]]
    return 3 + kind + 0.001 * (config["warmup"] - 80) ** 2 / 100 + (config["final"] - 0.2) ** 2


def test_choices_integers_and_fractions_are_searched_beside_each_other():
    space = (
        Choice("schedule", ("cosine", "linear", "wsd"), "cosine"),
        Integer("warmup", (10, 20), 10, low=1, ratio=2),
        Float("final", (0.0, 0.1), 0.1, low=0.0, high=1.0, step=0.1),
    )
    result = run(shapes, space, delta1=1e-6)
    assert result.best == {"schedule": "wsd", "warmup": 80, "final": 0.2}
    assert result.edges == {}


# --- two at a time --------------------------------------------------------------------------------


def test_a_joint_check_finds_what_one_at_a_time_cannot():
    alone = run(ridge)
    assert alone.best == {"lr": 0.001, "decay": 4.0}
    checked = run(ridge, joint=(("lr", "decay"),))
    assert checked.loss < alone.loss - 0.01
    assert "one at a time had not found it" in checked.joints[0].verdict
    assert "no neighbouring pair" in checked.joints[-1].verdict
    assert checked.joints[-1].interaction < 0


def test_joint_checks_lead_along_a_valley_in_which_one_at_a_time_is_stuck():
    space = (LR.starting_at(0.001), DECAY.starting_at(32.0))
    alone = run(valley, space, delta1=1e-6)
    assert alone.descent.converged
    assert alone.best != {"lr": 0.004, "decay": 8.0}
    checked = run(valley, space, delta1=1e-6, joint=(("lr", "decay"),))
    assert checked.best == {"lr": 0.004, "decay": 8.0}


def test_a_joint_check_says_how_two_depend_on_each_other():
    def verdict(function):
        return run(function, delta1=1e-4, joint=(("lr", "decay"),)).joints[-1].verdict

    assert "hardly depend on each other" in verdict(bowl)
    assert "against each other" in verdict(valley)


def test_a_joint_check_costs_four_trainings_beyond_the_descent():
    alone, checked = Inline(), Inline()
    run(bowl, runner=alone)
    run(bowl, runner=checked, joint=(("lr", "decay"),))
    assert checked.runs <= alone.runs + 4


def test_a_joint_check_of_something_not_searched_is_refused():
    with pytest.raises(ValueError, match="needs both in the search space, which has lr, decay"):
        run(bowl, joint=(("lr", "batch"),))


# --- noise ----------------------------------------------------------------------------------------


def test_the_thresholds_come_from_the_seeds_of_the_baseline():
    result = run(noisy, noise_seeds=3)
    assert result.floor.sigma == pytest.approx(0.01)
    assert result.floor.delta1 == pytest.approx(2.9200 * 0.01 * 2**0.5, rel=1e-4)
    assert result.floor.delta2 == pytest.approx(result.floor.delta1 * 6.4 / 3)
    # lr 0.002 is 0.02 worse than 0.004: within the noise.
    assert 0.002 in result.sweeps["lr"].near_optimal(result.floor.delta2)


def spreading(config):
    """Seeds differ by a tenth of what the loss is above its minimum."""
    return 3 + (bowl(config) - 3) * (1 + 0.1 * config["seed"])


def test_noise_that_is_large_only_far_from_the_optimum_does_not_end_the_search_early():
    result = run(spreading, (LR, DECAY), noise_seeds=3)
    assert result.best == {"lr": 0.004, "decay": 8.0}
    first = {move.sweep.name: move.moved for move in result.descent.passes[0]}
    assert first == {"lr": True, "decay": False}  # which gains less than the noise there
    assert result.floor.sigma == 0.0  # that of the optimum
    assert result.descent.converged


def test_a_loss_over_seeds_is_their_mean():
    runner = Inline()
    result = run(noisy, seeds=3, runner=runner)
    assert result.loss == pytest.approx(3.0)
    assert result.budget.runs == runner.runs
    assert runner.runs % 3 == 0


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [0, 1, 4, 7])
def test_a_search_that_was_stopped_goes_on_and_runs_nothing_twice(tmp_path, stop_after):
    whole = Inline()
    expected = tune(bowl, SPACE, runner=whole)
    first, second = Inline(stop_after), Inline()
    with pytest.raises(Stopped):
        tune(bowl, SPACE, runner=first, folder=tmp_path)
    result = tune(bowl, SPACE, runner=second, folder=tmp_path)
    assert result.best == expected.best
    assert result.descent == expected.descent
    assert (first.runs, second.runs) == (stop_after, whole.runs - stop_after)
    assert result.budget.runs == whole.runs
    assert result.budget.recalled == stop_after
