"""Training as what the tuner tunes: hyperparameters to run directories, these to losses."""

import dataclasses
import math

import pytest

from adana.ladder import (
    DEMO_MODEL,
    TrainingObjective,
    hyperparameters,
    plan_run,
    training_scale,
    training_space,
    with_hyperparameters,
)
from adana.runs import write_json
from adana.train import (
    HYPERPARAMETERS,
    OPTIMIZERS,
    LayoutConfig,
    OptimizerConfig,
    Outcome,
    ScheduleConfig,
    TrainConfig,
)
from adana.train.config import OPTIONAL
from adana.tune import PRESETS, Result, own_default
from adana.tune.space import baseline_of


def start(name="adana", **changes):
    config = TrainConfig(OptimizerConfig(name, lr=0.003), steps=1000, model=DEMO_MODEL)
    return dataclasses.replace(config, **changes)


# --- presets --------------------------------------------------------------------------------------


def test_every_optimizer_has_a_preset():
    assert set(PRESETS) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_preset_holds_exactly_what_its_optimizer_reads(name):
    own = set(PRESETS[name]) & set(HYPERPARAMETERS)
    reads = set(OPTIMIZERS[name].reads)
    # With alpha constant or undamped there is nothing for kappa to damp; figure 5 fixes it.
    idle = {"log-adamw", "log-nadamw", "log-nadamw-nesterov", "adana-constant-alpha"}
    assert own == reads - ({"kappa"} if name in idle else set())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_value_of_a_preset_is_a_configuration(name):
    base = start(name)
    for parameter in training_space(base):
        for value in parameter.values(parameter.baseline):
            made = with_hyperparameters(base, {parameter.name: value})
            found = hyperparameters(made)[parameter.name]
            default = own_default(parameter.name)
            assert found == value or (found is None and value == default)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_search_begins_where_the_configuration_is(name, tmp_path):
    base = start(name)
    same = with_hyperparameters(base, baseline_of(training_space(base)))
    assert plan_run(same, tmp_path, "t").path == plan_run(base, tmp_path, "t").path


def test_a_short_run_has_no_warm_up_or_decay_that_it_cannot_have():
    space = {own.name: own for own in training_space(start("adamw", steps=12))}
    assert max(space["warmup_steps"].grid) <= 6
    assert max(space["omega"].grid) < 12
    assert space["omega"].beyond(8.0, True) is None


def test_a_constant_schedule_has_no_final_rate_to_tune():
    base = start("adamw", schedule=ScheduleConfig("constant"))
    names = [own.name for own in training_space(base)]
    assert names == [name for name in PRESETS["adamw"] if name != "final"]
    assert [own.name for own in training_space(base, ["lr", "omega"])] == ["lr", "omega"]
    with pytest.raises(ValueError, match="schedule constant has no `final` to tune"):
        training_space(base, ["lr", "final"])


# --- hyperparameters to configurations ------------------------------------------------------------


def test_every_hyperparameter_finds_its_place():
    values = {
        **{"lr": 0.01, "omega": 2.0, "kappa": 0.8, "delta": 4.0, "momentum_scale": 0.5},
        **{"momentum_cooldown": 0.1, "eps": 1e-10, "warmup_steps": 50, "final": 0.0, "clip": 1.0},
    }
    made = with_hyperparameters(start(), values)
    assert {name: hyperparameters(made)[name] for name in values} == values
    assert made.schedule == ScheduleConfig(warmup_steps=50, final=0.0)
    assert made.provenance["lr"] == "tuned (adana tune)"


def test_a_batch_size_keeps_the_tokens():
    made = with_hyperparameters(start(), {"batch_size": 32})
    assert (made.batch_size, made.steps) == (32, 500)
    assert made.steps * made.tokens_per_step == start().steps * start().tokens_per_step


@pytest.mark.parametrize(("size", "micro"), [(2, 2), (8, 8), (32, 8)])
def test_a_batch_size_below_the_micro_batch_is_a_configuration(size, micro):
    base = start(layout=LayoutConfig(micro_batch=8))
    made = with_hyperparameters(base, {"batch_size": size})
    assert (made.batch_size, made.layout.micro_batch) == (size, micro)


def test_a_seed_is_counted_up_from_the_runs_own():
    assert with_hyperparameters(start(seed=7), {"seed": 2}).seed == 9


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_optimizers_own_default_is_the_same_run_as_leaving_it_out(name):
    made = with_hyperparameters(start(), {name: own_default(name)})
    assert getattr(made.optimizer, name) is None


def test_an_unknown_hyperparameter_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="cannot tune momentum; known are lr, omega, kappa"):
        with_hyperparameters(start(), {"momentum": 0.9})


def test_a_scale_has_all_parameters_and_all_tokens():
    scale = training_scale(start())
    assert (scale.name, scale.parameters, scale.tokens) == ("N 229k, D 2.05M", 229_376, 2_048_000)
    assert training_scale(start(), "small").name == "small"


# --- run directories to losses --------------------------------------------------------------------


@pytest.fixture
def objective(tmp_path):
    return TrainingObjective(start(), tmp_path / "runs", tmp_path / "shards", "tokens")


def finish(objective, config, state="finished", summary=None):
    run = objective.plan(config).run
    run.create()
    run.set_status(state, step=10)
    if summary:
        write_json(run.path / "summary.json", summary)
    return run


SUMMARY = {"val_loss": 3.5, "seconds": 60.0, "tokens": 2_048_000}


def test_a_finished_run_is_recalled_with_its_loss_and_cost(objective):
    config = {"lr": 0.002}
    assert objective.recall(config) is None
    finish(objective, config, summary=SUMMARY)
    trial = objective.recall(config)
    assert (trial.loss, trial.seconds, trial.tokens) == (3.5, 60.0, 2_048_000)


def test_a_diverged_run_is_recalled_as_an_infinite_loss_with_what_it_cost(objective):
    config = {"lr": 0.2}
    run = finish(objective, config, "diverged")
    run.append_metrics({"step": 10, "timing": {"seconds": 1.5}})
    trial = objective.recall(config)
    assert (trial.loss, trial.seconds, trial.tokens) == (math.inf, 1.5, 10 * 16 * 128)


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_run_without_an_end_is_not_recalled(objective, state):
    finish(objective, {"lr": 0.002}, state)
    assert objective.recall({"lr": 0.002}) is None


def test_what_a_job_ends_with_is_a_loss_a_crash_or_nothing(objective):
    config = {"lr": 0.002}
    assert objective.record(config, Result(error="out of memory")).error == "out of memory"
    failed = Result(value=Outcome("failed", 3, "no space"))
    assert objective.record(config, failed).error == "no space"
    assert objective.record(config, Result(value=Outcome("interrupted", 3))) is None
    finish(objective, config, summary=SUMMARY)
    done = Result(value=Outcome("finished", 1000, summary=SUMMARY))
    assert objective.record(config, done).loss == 3.5


def test_two_ways_to_say_the_same_are_one_run(objective):
    assert objective.key({"lr": 0.003}) == objective.key({})
    assert objective.key({"lr": 0.003, "eps": 1e-8, "seed": 0}) == objective.key({})
    assert objective.key({"lr": 0.006}) != objective.key({})
