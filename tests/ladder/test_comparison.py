import dataclasses
import itertools
import json
from collections import Counter

import pytest

from adana.ladder import (
    DEMO_MODEL,
    Rate,
    job_payload,
    plan_run,
    plan_seeds_and_horizons,
    sweep_rates,
    with_optimizer,
)
from adana.runs import identity
from adana.train import (
    LayoutConfig,
    OptimizerConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
    refuse_unread,
)
from adana.train.config import OPTIONAL


@pytest.fixture
def base():
    return TrainConfig(optimizer=OptimizerConfig("adamw", lr=1e-2), steps=100, model=DEMO_MODEL)


# --- learning rates -------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 3, 5, 7])
def test_a_sweep_is_symmetric_around_its_centre_by_factors_of_two(points):
    rates = [rate.lr for rate in sweep_rates(Rate(0.003, "a rule"), points)]
    assert len(rates) == points
    assert rates[points // 2] == 0.003
    assert all(b / a == 2 for a, b in itertools.pairwise(rates))


def test_an_even_sweep_has_its_extra_rate_above_the_centre():
    assert [rate.lr for rate in sweep_rates(Rate(1.0, ""), 4)] == [0.5, 1.0, 2.0, 4.0]


def test_a_sweep_says_what_it_is_around():
    assert {rate.source for rate in sweep_rates(Rate(0.003, "a rule"), 3)} == {
        "sweep of 3 rates by factors of 2 around 0.003"
    }


def test_another_optimizer_changes_nothing_but_itself_its_rate_and_where_that_comes_from(base):
    other = with_optimizer(base, "adana", Rate(0.5, "the sky"))
    assert (other.optimizer.name, other.optimizer.label, other.optimizer.lr) == (
        "adana",
        "adana",
        0.5,
    )
    assert other.optimizer.omega == base.optimizer.omega
    assert other.provenance == {"lr": "the sky"}
    assert dataclasses.replace(other, optimizer=base.optimizer, provenance={}) == base


def test_what_only_some_optimizers_read_is_given_to_those_alone(base):
    optimizer = dataclasses.replace(base.optimizer, beta1=0.95, eps=1e-10, clip_snr=0.5)
    base = dataclasses.replace(base, optimizer=optimizer)

    def given(name):
        own = with_optimizer(base, name, Rate(0.5, "")).optimizer
        return {field: getattr(own, field) for field in ("beta1", "eps", "clip_snr")}

    assert given("adamw") == {"beta1": 0.95, "eps": 1e-10, "clip_snr": None}
    assert given("adana") == {"beta1": None, "eps": 1e-10, "clip_snr": None}
    assert given("dana-mk4") == {"beta1": None, "eps": 1e-10, "clip_snr": 0.5}


def test_one_that_none_of_the_optimizers_reads_is_refused_with_those_that_do(base):
    given = dataclasses.replace(base.optimizer, clip_snr=0.5)
    refuse_unread(given, "adamw", "dana-mk4")
    with pytest.raises(ValueError, match=r"adamw and adana do not .*: dana-mk4, dana-star-mk4$"):
        refuse_unread(given, "adamw", "adana")


# --- plans ----------------------------------------------------------------------------------------


@pytest.fixture
def planned(base):
    configs = {
        "adamw": base,
        "adana": with_optimizer(base, "adana", Rate(0.5, "")),
        "adamw-log-decay": with_optimizer(base, "adamw-log-decay", Rate(0.5, "")),
    }
    return plan_seeds_and_horizons(configs, baseline="adamw", seeds=3, horizons=[1.25, 0.5])


def test_the_baseline_is_trained_at_every_horizon_and_the_others_at_one(planned):
    assert Counter((c.optimizer.name, c.steps) for c in planned) == {
        ("adamw", 100): 3,
        ("adamw", 125): 3,
        ("adamw", 50): 3,
        ("adana", 100): 3,
        ("adamw-log-decay", 100): 3,
    }


def test_all_trainings_share_data_model_and_seeds(planned, base):
    for config in planned:
        assert (config.data, config.model, config.batch_size) == (
            base.data,
            base.model,
            base.batch_size,
        )
    seeds = {}
    for config in planned:
        seeds.setdefault((config.optimizer.name, config.steps), set()).add(config.seed)
    assert set(map(frozenset, seeds.values())) == {frozenset({0, 1, 2})}


def test_the_longest_trainings_start_first(planned):
    steps = [config.steps for config in planned]
    assert steps == sorted(steps, reverse=True)


def test_seeds_count_up_from_that_of_the_configuration(base):
    config = dataclasses.replace(base, seed=7)
    planned = plan_seeds_and_horizons({"adamw": config}, baseline="adamw", seeds=2, horizons=[])
    assert [(c.seed, c.steps) for c in planned] == [(7, 100), (8, 100)]


def test_every_horizon_has_its_own_warm_up(planned):
    warmups = {c.steps: c.resolve().schedule.warmup_steps for c in planned}
    assert warmups == {50: 1, 100: 2, 125: 2}


def test_no_horizon_is_shorter_than_a_step(base):
    planned = plan_seeds_and_horizons({"a": base}, baseline="a", seeds=1, horizons=[1e-6])
    assert [c.steps for c in planned] == [100, 1]


def test_no_two_trainings_of_a_plan_share_a_directory(planned, tmp_path):
    paths = [plan_run(config, tmp_path, "tokens").path for config in planned]
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {tmp_path}


# --- directories ----------------------------------------------------------------------------------


def test_a_directory_is_named_for_people_and_for_its_identity(base, tmp_path):
    name = plan_run(base, tmp_path, "tokens").path.name
    assert name.startswith("adamw-T100-s0-")
    assert len(name.removeprefix("adamw-T100-s0-")) == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": LayoutConfig(device="cuda", micro_batch=2, threads=7, checkpoint_every=3)},
        {"provenance": {"lr": "somewhere else"}},
        {"eval_every": 100 // 12},  # what the default resolves to
        {"model": DEMO_MODEL},
    ],
)
def test_the_directory_does_not_depend_on_layout_words_or_spelt_out_defaults(
    base, tmp_path, changes
):
    changed = dataclasses.replace(base, **changes)
    assert plan_run(changed, tmp_path, "t").path == plan_run(base, tmp_path, "t").path


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"steps": 101},
        {"batch_size": 8},
        {"clip": 1.0},
        {"eval_tokens": 1024},
        {"optimizer": OptimizerConfig("adamw", lr=1.1e-2)},
        {"model": dataclasses.replace(DEMO_MODEL, qk_norm=False)},
    ],
)
def test_the_directory_depends_on_every_setting(base, tmp_path, changes):
    changed = dataclasses.replace(base, **changes)
    assert plan_run(changed, tmp_path, "t").path != plan_run(base, tmp_path, "t").path


def test_a_run_that_gives_no_optional_hyperparameter_keeps_the_identity_it_had_before_them():
    config = TrainConfig(optimizer=OptimizerConfig("adana", lr=0.006), steps=100)
    content = config_to_dict(config, "tokens")
    assert identity(content) == "ce1f18218327"  # as of the version without beta1, eps, ...
    assert not set(OPTIONAL) & set(content["optimizer"])
    given = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=0.006, eps=1))
    assert config_to_dict(given, "tokens")["optimizer"]["eps"] == 1.0
    assert config_from_dict(config_to_dict(given, "tokens")) == given.resolve()


def test_the_directory_depends_on_the_text(base, tmp_path):
    assert plan_run(base, tmp_path, "one").path != plan_run(base, tmp_path, "other").path


def test_a_job_carries_the_whole_configuration_as_plain_values(base, tmp_path):
    planned = plan_run(base, tmp_path, "tokens")
    payload = job_payload(planned, tmp_path / "shards")
    assert json.loads(json.dumps(payload)) == payload
    assert config_from_dict(payload["config"]) == planned.config.resolve() == base.resolve()
    assert payload["run"] == str(planned.path)
    assert planned.run.path == planned.path
