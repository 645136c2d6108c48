"""What people hand to the tuner by mistake is named before, or where, it does harm."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adana.report import write_search
from adana.searches import is_search, read_search, results_below
from adana.tune import FailedTrials, FunctionObjective, Log, Rules, preset_space, spent_below, tune
from adana.tune.trial import as_loss

SPACE = (Log("lr", (0.1, 0.2, 0.4), 0.2),)
QUICK = Rules(noise_seeds=0)


def bowl(config):
    return (config["lr"] - 0.2) ** 2


def nothing(config):
    return None


def true(config):
    return True


def text(config):
    return "3.2"


def pair(config):
    return [1.0, 2.0]


def tensors(config):
    return torch.ones(2)


def tuned(function, **how):
    return tune(function, SPACE, rules=QUICK, **{"workers": 0} | how)


@pytest.mark.parametrize("function", [nothing, true, text, pair, tensors])
def test_what_is_no_loss_is_refused_with_the_name_of_the_objective(function):
    name = rf"objective tests\.tune\.test_misuse\.{function.__name__} must return a loss"
    with pytest.raises(FailedTrials, match=name):
        tuned(function)


@pytest.mark.parametrize(
    "value", [1, 1.0, np.float32(1), np.array(1.0), np.int64(1), torch.tensor(1.0), torch.ones(1)]
)
def test_numbers_of_all_kinds_are_losses(value):
    assert as_loss(bowl, value) == 1.0


@pytest.mark.parametrize("value", [np.bool_(True), torch.tensor(True), b"1"])
def test_truth_values_of_libraries_are_none(value):
    with pytest.raises(TypeError, match="must return a loss"):
        as_loss(bowl, value)


def test_a_function_that_workers_cannot_import_is_refused_once_before_they_start(monkeypatch):
    monkeypatch.setattr("adana.tune.local.LocalEngine.run", lambda *_: pytest.fail("started"))
    with pytest.raises(ValueError, match=r"must stand at the top of a module.*workers=0"):
        tuned(lambda config: 1.0, workers=2)


def test_without_workers_any_function_will_do():
    assert tuned(lambda config: abs(config["lr"] - 0.2)).best == {"lr": 0.2}


def test_folders_may_be_given_as_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuned(bowl, folder="tune-x")
    assert is_search("tune-x")
    assert results_below(".") == [Path("tune-x/result.json")]
    assert spent_below(".") == {}
    search = read_search("tune-x")
    assert search.name == "tune-x"
    write_search([search], "page.html")
    assert Path("page.html").stat().st_size > 1000
    assert FunctionObjective(bowl, "tune-x/trials.jsonl").recall({"lr": 0.2}).loss == 0.0


@pytest.mark.parametrize("lr", [1e9, 1e-9])
def test_a_rate_beyond_the_limits_is_named_as_it_was_given(lr):
    with pytest.raises(ValueError, match=rf"lr must be .*\[1e-07, 10\], got {lr}"):
        preset_space("adamw", {"lr": lr}, ["lr"])


@pytest.mark.parametrize("lr", [10.0, 9.0, 1e-7])
def test_a_grid_near_a_limit_stays_within_it(lr):
    (space,) = preset_space("adamw", {"lr": lr}, ["lr"])
    assert space.grid
    assert all(1e-7 <= value <= 10 for value in space.grid)
    assert space.baseline == lr
