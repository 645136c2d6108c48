"""Branches of a long run, and averages of the weights along one."""

import dataclasses
import errno

import pytest
import torch

from adana import runs
from adana.nn import build_model
from adana.runs import Run, RunError, identity
from adana.train import (
    ScheduleConfig,
    branch_config,
    config_to_dict,
    find_branch,
    plant,
    train,
)
from adana.train import branch as branch_module
from adana.train.averages import WeightAverage, parse_average
from adana.train.checkpoint import list_checkpoints

from .results import assert_same_end, final_state, metrics_without_timing

STEPS, COOLDOWN = 10, 3


@pytest.fixture
def trunk(config, shards, tmp_path):
    layout = dataclasses.replace(config.layout, checkpoint_every=2, keep_every=2)
    config = dataclasses.replace(
        config,
        steps=16,
        schedule=ScheduleConfig("constant", warmup_steps=2),
        averages=("ema:0.5", "tail:0.5"),
        layout=layout,
    )
    run = Run(tmp_path / "trunk")
    assert train(config, shards, run).state == "finished"
    return run


def test_a_branch_ends_bit_for_bit_like_a_run_from_the_beginning(trunk, shards, tmp_path):
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    # The mean over the last half begins with step 5, so the checkpoint of step 6 is too late.
    assert (branch.fork, branch.saved_steps) == (7, 4)
    run, whole = Run(tmp_path / "branch"), Run(tmp_path / "whole")
    assert plant(branch, config, run, shards.fingerprint)
    messages = []
    assert (
        train(config, shards, run, lambda sign: messages.append(sign.message)).state == "finished"
    )
    assert "going on from step 4" in messages
    assert train(config, shards, whole).state == "finished"
    assert_same_end(run, whole)
    assert identity(run.config()) == identity(whole.config())


@pytest.mark.parametrize(("log_every", "fork"), [(3, 14), (8, 16)])
def test_a_branch_at_the_end_of_the_trunk_is_exact_too(log_every, fork, config, shards, tmp_path):
    """The trunk's last step writes a row even where none is due, so it may be too late."""
    layout = dataclasses.replace(config.layout, checkpoint_every=2, keep_every=2)
    config = dataclasses.replace(
        config, steps=16, schedule=ScheduleConfig("constant"), log_every=log_every, layout=layout
    )
    trunk, run, whole = (Run(tmp_path / name) for name in ("trunk", "branch", "whole"))
    train(config, shards, trunk)
    longer, branch = find_branch(trunk, 20, 4)
    assert branch.saved_steps == fork
    plant(branch, longer, run, shards.fingerprint)
    train(longer, shards, run)
    train(longer, shards, whole)
    assert_same_end(run, whole)


def test_a_tail_that_the_trunk_began_earlier_is_not_taken_over(trunk, shards, tmp_path):
    longer, branch = find_branch(trunk, 20, 4)
    assert branch.saved_steps == 6  # the trunk's mean begins with step 8, the branch's with 10
    run, whole = Run(tmp_path / "branch"), Run(tmp_path / "whole")
    plant(branch, longer, run, shards.fingerprint)
    train(longer, shards, run)
    train(longer, shards, whole)
    assert_same_end(run, whole)


def test_a_run_in_use_is_not_planted_over(trunk, shards, tmp_path, monkeypatch):
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    run = Run(tmp_path / "branch")
    run.create()
    monkeypatch.setattr(runs, "LOCK_PATIENCE", 0.2)
    with run.lock(), pytest.raises(RunError, match="in use by another process"):
        plant(branch, config, run, shards.fingerprint)


def test_a_branch_is_planted_once(trunk, shards, tmp_path):
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    run = Run(tmp_path / "branch")
    assert plant(branch, config, run, shards.fingerprint)
    assert not plant(branch, config, run, shards.fingerprint)
    steps = [row["step"] for row in metrics_without_timing(run)]
    assert steps == [0, 3, 4]  # training rows come every 3 steps, evaluations every 4


def test_a_branch_that_does_not_fit_on_the_disk_leaves_no_half_of_it(
    trunk, shards, tmp_path, monkeypatch
):
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    run = Run(tmp_path / "branch")

    def failing(source, target):
        target.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(branch_module, "_link", failing)
        with pytest.raises(RunError, match=r"cannot write .*step-00000004: No space.*Free some"):
            plant(branch, config, run, shards.fingerprint)
    assert not list(run.checkpoints.iterdir())
    assert plant(branch, config, run, shards.fingerprint)


def test_a_branch_with_a_damaged_checkpoint_is_not_planted_over(trunk, shards, tmp_path):
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    run = Run(tmp_path / "branch")
    plant(branch, config, run, shards.fingerprint)
    (planted,) = list_checkpoints(run.checkpoints)
    (planted / "manifest.json").unlink()
    before = (run.path / "metrics.jsonl").read_bytes()
    assert not plant(branch, config, run, shards.fingerprint)
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_the_trunk_is_left_as_it_was(trunk, shards, tmp_path):
    before = {path: path.read_bytes() for path in trunk.path.rglob("*") if path.is_file()}
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    run = Run(tmp_path / "branch")
    plant(branch, config, run, shards.fingerprint)
    train(config, shards, run)
    assert before == {path: path.read_bytes() for path in trunk.path.rglob("*") if path.is_file()}


def test_a_branch_keeps_the_decay_of_its_trunk(trunk, shards):
    config, _ = find_branch(trunk, STEPS, COOLDOWN)
    assert config.optimizer.horizon == 16
    assert config_to_dict(config, shards.fingerprint)["optimizer"]["horizon"] == 16


@pytest.mark.parametrize(
    ("steps", "cooldown", "message"),
    [
        (10, 0, "must last a step or more"),
        (3, 2, "begins at 1; it must last a step or more and begin while the trunk is flat"),
        (30, 2, "from 2 to 16"),
    ],
)
def test_lengths_that_do_not_fit_the_trunk_are_refused(steps, cooldown, message, trunk):
    with pytest.raises(ValueError, match=message):
        find_branch(trunk, steps, cooldown)


def test_only_flat_runs_can_be_branched(config):
    with pytest.raises(ValueError, match=r"schedule constant or wsd can be branched.*is cosine"):
        branch_config(config, 10, 3)


def test_a_trunk_without_early_checkpoints_says_which_it_has(trunk):
    for path in list_checkpoints(trunk.checkpoints)[:-2]:
        (path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"no checkpoint up to step 4 \(it has: 14, 16\)"):
        find_branch(trunk, STEPS, COOLDOWN)


def test_a_branch_with_other_settings_is_refused(trunk, shards, tmp_path):
    config, branch = find_branch(trunk, STEPS, COOLDOWN)
    other = dataclasses.replace(config, seed=1)
    with pytest.raises(RunError, match="differs from the branch before the cooldown, in seed"):
        plant(branch, other, Run(tmp_path / "branch"), shards.fingerprint)


# --- averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ema:0.9", "log-time:8", "tail:0.4"])
def test_an_average_is_what_its_rule_says(name, config):
    model = build_model(config.model, seed=0)
    average = WeightAverage(parse_average(name), model, steps=10)
    weights = []
    for step in range(1, 11):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * step)
        weights.append(model.head.weight.detach().clone())
        average.update(step)
    if name.startswith("ema"):
        expected = weights[0]
        for w in weights[1:]:
            expected = 0.9 * expected + 0.1 * w
    elif name.startswith("log-time"):
        expected = weights[0]
        for n, w in enumerate(weights[1:], start=1):
            expected = expected + 8 / (8 + n) * (w - expected)
    else:
        expected = torch.stack(weights[5:]).mean(0)
    with average.in_place():
        assert model.head.weight.allclose(expected, atol=1e-5)
    assert model.head.weight.equal(weights[-1])


def test_averages_are_evaluated_and_leave_the_training_alone(config, shards, tmp_path):
    plain, averaged = Run(tmp_path / "plain"), Run(tmp_path / "averaged")
    train(config, shards, plain)
    names = ("ema:0.5", "tail:0.25")
    train(dataclasses.replace(config, averages=names), shards, averaged)
    rows = [row for row in averaged.metrics() if "val_loss" in row]
    assert [sorted(row.get("averages", {})) for row in rows] == [
        [], ["ema:0.5"], ["ema:0.5"], ["ema:0.5", "tail:0.25"],
    ]  # fmt: skip
    assert set(averaged.summary()["averages"]) == set(names)
    assert averaged.summary()["val_loss"] == plain.summary()["val_loss"]
    assert averaged.summary()["averages"]["ema:0.5"]["val_loss"] != plain.summary()["val_loss"]
    saved = final_state(averaged)["tensors"]
    assert any(key.startswith("average.ema:0.5.") for key in saved)


@pytest.mark.parametrize(
    "name", ["ema", "ema:1", "ema:x", "tail:0", "tail:2", "mean:3", "log-time:0"]
)
def test_averages_that_are_none_are_refused(name):
    with pytest.raises(ValueError, match=r"(?s)unknown average .*tail:FRACTION"):
        parse_average(name)
