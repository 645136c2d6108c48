"""Weight decay in numbers: what a training says of itself is what its optimizer does."""

import dataclasses
import json
import math

import pytest
import torch

from adana import schedules
from adana.train import (
    OPTIMIZERS,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    build_optimizer,
    decay_timescales,
    omega_of_tau_epochs,
)
from adana.train.optimizers import schedule_values, set_gamma

STEPS, TOKENS = 1000, 400_000


def training(name="adamw", omega=4.0, schedule=None, **more):
    return TrainConfig(
        OptimizerConfig(name, lr=2e-3, omega=omega, **more),
        steps=STEPS,
        batch_size=16,
        schedule=schedule or ScheduleConfig(),
    )


@pytest.mark.filterwarnings("ignore:param_groups")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_decay_that_is_told_is_the_one_the_optimizer_takes(name):
    config = training(name)
    scales = decay_timescales(config)
    optimizer = build_optimizer(torch.nn.Linear(4, 4, bias=False), config.optimizer, STEPS)
    gamma = config.schedule.gamma(STEPS)
    for moment in (scales.peak, scales.end):
        set_gamma(optimizer, config.optimizer.lr, gamma(moment.step))
        used = schedule_values(optimizer, gamma(moment.step), moment.step)["decay"]
        assert moment.decay == pytest.approx(used, rel=1e-6)
        assert moment.tau_steps == pytest.approx(1 / used, rel=1e-6)


def test_adamw_at_its_peak_remembers_a_fraction_of_the_run():
    scales = decay_timescales(training(), TOKENS)
    assert scales.peak.step == 21  # after a warm-up of T/50
    assert scales.peak.tau_steps == pytest.approx(STEPS / 4)
    epoch = TOKENS / training().tokens_per_step
    assert scales.peak.tau_epochs == pytest.approx(STEPS / 4 / epoch)
    assert scales.tau_epochs == pytest.approx(scales.peak.tau_epochs)
    assert scales.end.tau_steps == pytest.approx(10 * STEPS / 4, rel=1e-3)  # cosine to a tenth
    assert scales.weight_decay == pytest.approx(4 / (2e-3 * STEPS))
    assert scales.lr_wd_T == pytest.approx(4)
    assert scales.total == pytest.approx(2.2, abs=0.01)


def test_log_time_decay_remembers_more_and_more():
    scales = decay_timescales(training("adana", schedule=ScheduleConfig("constant")))
    assert scales.peak.tau_steps == pytest.approx((100 + 21) / 4)
    assert scales.end.tau_steps == pytest.approx(1.1 * STEPS / 4)
    assert (scales.weight_decay, scales.decay_offset) == (None, 100)
    assert scales.lr_wd_T == pytest.approx(4 * math.log(11), rel=2e-3)
    assert decay_timescales(training("adana")).total == pytest.approx(6.84, abs=0.04)


def test_the_total_is_that_of_the_schedules():
    gamma = ScheduleConfig().gamma(STEPS)
    total = schedules.total_decay(lambda t: schedules.log_time_decay(t, 4.0, 100.0), gamma, STEPS)
    assert decay_timescales(training("adana")).total == pytest.approx(total)


def test_the_learning_rate_does_not_move_a_timescale():
    config = training()
    other = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=0.1))
    one, two = decay_timescales(config, TOKENS), decay_timescales(other, TOKENS)
    assert dataclasses.replace(one, weight_decay=None) == dataclasses.replace(
        two, weight_decay=None
    )


def test_a_branch_has_the_decay_of_its_trunk():
    scales = decay_timescales(training(horizon=4000))
    assert scales.peak.tau_steps == pytest.approx(1000)
    assert scales.lr_wd_T == pytest.approx(1)


@pytest.mark.parametrize("name", ["adamw", "adana"])
def test_no_decay_is_an_endless_memory_and_plain_json(name):
    scales = decay_timescales(training(name, omega=0.0), TOKENS)
    assert (scales.total, scales.lr_wd_T, scales.tau_epochs) == (0, 0, None)
    assert scales.peak.tau_steps == math.inf
    content = json.loads(json.dumps(scales.as_dict(), allow_nan=False))
    assert content["end"]["tau_steps"] is None


@pytest.mark.parametrize("name", ["adamw", "adana", "ademamix"])
def test_a_timescale_in_epochs_gives_the_omega_that_has_it(name):
    config = training(name)
    omega = omega_of_tau_epochs(0.5, config, TOKENS)
    given = dataclasses.replace(config.optimizer, omega=omega)
    scales = decay_timescales(dataclasses.replace(config, optimizer=given), TOKENS)
    assert scales.tau_epochs == pytest.approx(0.5)


def test_a_branch_has_the_timescale_of_the_horizon_that_its_decay_is_planned_for():
    config = training("adamw")
    longer = dataclasses.replace(config.optimizer, horizon=2 * config.steps)
    config = dataclasses.replace(config, optimizer=longer)
    omega = omega_of_tau_epochs(0.5, config, TOKENS)
    given = dataclasses.replace(config.optimizer, omega=omega)
    scales = decay_timescales(dataclasses.replace(config, optimizer=given), TOKENS)
    assert scales.tau_epochs == pytest.approx(0.5)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
def test_a_timescale_that_is_not_positive_is_refused(tau):
    with pytest.raises(ValueError, match="tau_epochs must be"):
        omega_of_tau_epochs(tau, training(), TOKENS)
