"""Grids, what lies beyond them, and the presets."""

import pytest

from adana.tune import PRESETS, Beta, Choice, Float, Integer, Log, baseline_of, preset_space
from adana.tune.presets import MAKERS, aligned
from adana.tune.space import aligned_grid


@pytest.mark.parametrize(
    ("parameter", "below", "value", "above"),
    [
        (Log("lr", (0.001,), 0.001), 0.0005, 0.001, 0.002),
        (Log("eps", (1e-8,), 1e-8, ratio=100.0), 1e-10, 1e-8, 1e-6),
        (Float("final", (0.1,), 0.1, step=0.1), 0.0, 0.1, 0.2),
        (Beta("beta1", (0.9,), 0.9), 0.8, 0.9, 0.95),
        (Beta("beta2", (0.99,), 0.99), 0.98, 0.99, 0.995),
        (Integer("warmup", (20,), 20, ratio=2), 10, 20, 40),
        (Integer("layers", (2,), 2), 1, 2, 3),
    ],
)
def test_each_scale_goes_on_in_its_own_way(parameter, below, value, above):
    assert parameter.beyond(value, False) == below
    assert parameter.beyond(value, True) == above
    assert type(parameter.beyond(value, True)) is type(above)


@pytest.mark.parametrize(
    ("parameter", "value", "higher"),
    [
        (Log("omega", (0.0, 2.0), 2.0), 0.0, False),
        (Log("lr", (1.0,), 1.0, high=1.5), 1.0, True),
        (Float("final", (0.0, 0.1), 0.1, low=0.0), 0.0, False),
        (Beta("beta1", (0.0, 0.5), 0.5), 0.0, False),
        (Integer("warmup", (1, 2), 2, low=1, ratio=2), 1, False),
        (Choice("name", ("a", "b"), "a"), "b", True),
    ],
)
def test_nothing_lies_beyond_a_hard_limit(parameter, value, higher):
    assert parameter.beyond(value, higher) is None


def test_a_baseline_takes_its_place_in_the_grid():
    assert Log("lr", (4.0, 1.0, 2.0), 3.0).values(3.0) == (1.0, 2.0, 3.0, 4.0)
    assert Choice("name", ("b", "a"), "a").values("a") == ("b", "a")


def test_a_grid_slides_to_a_baseline_beyond_it():
    lr = Log("lr", (0.001, 0.002, 0.004), 0.001)
    assert lr.starting_at(0.004).grid == lr.grid
    assert lr.starting_at(0.032).grid == (0.016, 0.032, 0.064)
    assert lr.starting_at(0.00025).grid == (0.000125, 0.00025, 0.0005)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Log("lr", (), 0.1), "the grid of lr is empty"),
        (lambda: Log("lr", (-1.0,), 0.1), "lr must be a finite number"),
        (lambda: Float("final", (0.5,), 2.0, high=1.0), "final must be a finite number"),
        (lambda: Log("lr", (1.0,), 1.0, ratio=1.0), "ratio of lr"),
        (lambda: Integer("warmup", (1.5,), 1), "warmup must be a whole number"),
        (lambda: Choice("name", ("a",), "b"), "must be one of its choices 'a', got 'b'"),
        (lambda: baseline_of([]), "the search space is empty"),
        (lambda: baseline_of([Log("lr", (1.0,), 1.0)] * 2), "has lr more than once"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_grids_of_different_scales_share_values():
    assert set(aligned_grid(0.0037, 2, 1e-3, 1, 2)) & set(aligned_grid(0.0011, 2, 1e-3, 1, 2))
    assert aligned("lr", 0.0037) == 0.004
    assert aligned("warmup_steps", 24) == 32
    assert aligned("omega", 3.3) == 3.3


# --- presets --------------------------------------------------------------------------------------

START = {
    **{"lr": 0.003, "omega": 4.0, "warmup_steps": 24, "final": 0.1, "clip": 0.5},
    **{"kappa": 0.85, "delta": 8.0, "momentum_scale": 1.0, "batch_size": 16},
}


@pytest.mark.parametrize("optimizer", PRESETS)
def test_every_preset_has_an_optimum_to_bracket_from_the_start(optimizer):
    space = preset_space(optimizer, START)
    assert [parameter.name for parameter in space] == list(PRESETS[optimizer])
    for parameter in space:
        assert len(parameter.values(parameter.baseline)) >= 3
        for end, higher in ((parameter.grid[0], False), (parameter.grid[-1], True)):
            beyond = parameter.beyond(end, higher)
            assert beyond is not None or end == parameter.low, f"{parameter.name} cannot go on"


def test_adamw_has_the_grid_of_marin_725():
    own = {parameter.name: parameter for parameter in preset_space("adamw", START)}
    assert own["lr"].grid == (0.002, 0.004, 0.008, 0.016)  # x {1, 2, 4, 8}
    assert own["final"].grid == (0.0, 0.05, 0.1)
    assert own["beta1"].grid == own["beta2"].grid == (0.9, 0.95, 0.98, 0.99)
    assert own["eps"].grid == (1e-30, 1e-20, 1e-10)
    assert own["omega"].grid == (0.0, 2.0, 4.0, 8.0)  # weight decay x {0, 1, 2, 4}
    assert own["beta2"].baseline == 0.999


def test_a_preset_names_what_an_optimizer_does_not_have():
    with pytest.raises(ValueError, match=r"adamw is not tuned in kappa; choose from lr, final"):
        preset_space("adamw", START, ["lr", "kappa"])
    with pytest.raises(ValueError, match=r"no search space for 'sgd'.*any list of adana.tune.Log"):
        preset_space("sgd", START)
    with pytest.raises(ValueError, match="the baseline has no value of lr"):
        preset_space("adamw", {})


def test_every_hyperparameter_of_a_preset_has_a_maker():
    assert {name for names in PRESETS.values() for name in names} | {"batch_size"} == set(MAKERS)
