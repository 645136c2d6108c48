"""Telemetry in training rows: of the right steps, of all parameters, and without an effect."""

import dataclasses

import pytest

from adana.data import open_shards
from adana.nn import build_model
from adana.runs import Run
from adana.train import OptimizerConfig, train

from .results import final_state, metrics_without_timing


def watched(config, **layout):
    layout = dataclasses.replace(config.layout, telemetry=True, **layout)
    return dataclasses.replace(config, layout=layout)


def on_rank_train(config, folder, path):
    return train(config, open_shards(folder), Run(path)).state


@pytest.mark.parametrize("name", ["adana", "dana-star-mk4"])
def test_rows_tell_of_every_parameter_and_nothing_else_changes(name, config, shards, tmp_path):
    config = dataclasses.replace(config, optimizer=OptimizerConfig(name, lr=8e-3))
    plain, seen = Run(tmp_path / "plain"), Run(tmp_path / "seen")
    train(config, shards, plain)
    train(watched(config), shards, seen)
    rows = metrics_without_timing(seen)
    told = [row.pop("telemetry") for row in rows if "train_loss" in row]
    assert rows == metrics_without_timing(plain)
    assert len(told) == config.steps // config.log_every
    names = {name for name, _ in build_model(config.model, seed=0).named_parameters()}
    star = {"clipped", "tau"} if name.startswith("dana") else set()
    for row in told:
        assert set(row) == names
        for values in row.values():
            assert set(values) == {"g", "u", "m", "r"} | star
            assert all(x >= 0 for x in values.values())
            assert 0 < values["r"] <= 1
    ends = [final_state(run)["tensors"] for run in (plain, seen)]
    assert all(ends[0][name].equal(x) for name, x in ends[1].items())


def test_norms_together_are_that_of_the_clipped_gradient(config, shards, tmp_path):
    config = dataclasses.replace(watched(config), log_every=1, clip=0.1)
    run = Run(tmp_path / "run")
    train(config, shards, run)
    for row in run.metrics():
        if "train_loss" in row:
            norm = sum(x["g"] ** 2 for x in row["telemetry"].values()) ** 0.5
            assert norm == pytest.approx(min(row["grad_norm"], 0.1), rel=1e-4)


def test_sharded_parameters_tell_of_the_whole(config, shards, tmp_path, worlds):
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    config = watched(config)
    train(config, shards, one)
    sharded = watched(config, parallel="fsdp")
    worlds(2).run(on_rank_train, sharded, shards.folder, two.path)
    pairs = zip(one.metrics(), two.metrics(), strict=True)
    for a, b in [pair for pair in pairs if "telemetry" in pair[0]]:
        for name, values in a["telemetry"].items():
            assert b["telemetry"][name] == pytest.approx(values, rel=0.02, abs=1e-5)


def test_an_optimizer_without_telemetry_is_named(config, shards, tmp_path):
    config = dataclasses.replace(config, optimizer=OptimizerConfig("adamw", lr=1e-3))
    with pytest.raises(ValueError, match=r"this is .*AdamW; leave --telemetry out"):
        train(watched(config), shards, Run(tmp_path / "run"))
