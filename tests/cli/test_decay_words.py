"""What is printed of weight decay, for each kind of it."""

import pytest

from adana.cli.decay_words import describe_decay
from adana.train import OptimizerConfig, ScheduleConfig, TrainConfig


def rows(name, schedule="cosine", **optimizer):
    config = TrainConfig(
        OptimizerConfig(name, lr=1e-3, **optimizer),
        steps=1000,
        batch_size=16,
        schedule=ScheduleConfig(schedule, warmup_steps=0, final=0.1 if schedule == "cosine" else 0),
        provenance={"omega": "from the sky"},
    ).resolve()
    return dict(describe_decay(config, 500 * config.tokens_per_step))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("adamw", "4 = omega / (lr T), omega 4"),
        ("ademamix", "0.004 a step = omega / T, omega 4"),
        ("adana", "omega / (S + t), omega 4, S = 100 steps (T/10)"),
    ],
)
def test_every_kind_of_decay_is_told_with_its_rule_and_source(name, rule):
    assert rows(name)["weight decay"] == f"{rule} (from the sky)"


def test_timescales_are_told_in_steps_and_epochs_at_both_ends():
    assert rows("adamw")["timescale"] == (
        "250 steps = 0.500 epochs at the peak (step 1), 2500 steps = 5.000 epochs at the end; "
        "epochs / omega 0.5"
    )
    assert rows("adamw")["total decay"].startswith("lr wd T = 4 before the schedule, 2.2 with it")


def test_an_offset_for_a_short_run_says_why_it_is_not_a_tenth():
    assert "S = 200 steps (omega, as T/10 is less)" in rows("adana", omega=200.0)["weight decay"]


def test_a_trunks_horizon_is_that_of_its_branches():
    assert rows("adamw", horizon=4000)["weight decay"].startswith("1 = omega / (lr T)")


def test_without_decay_there_is_nothing_to_tell():
    assert rows("adamw", omega=0.0) == {"weight decay": "none (omega 0)"}
