import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import time
import warnings

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from adana import runs
from adana.data import DataConfig, ShardError, prepare, validation_windows
from adana.nn import Enoki
from adana.runs import Run, RunError
from adana.train import (
    LayoutConfig,
    OptimizerConfig,
    ScheduleConfig,
    config_from_dict,
    config_to_dict,
    train,
)
from adana.train import checkpoint as checkpoint_module
from adana.train import loop as loop_module
from adana.train.checkpoint import checkpoint_folders, checkpoint_step, list_checkpoints
from adana.train.evaluate import Evaluation, error_of_mean, evaluate
from adana.train.session import _record_failure
from adana.train.world import World

from .conftest import VOCAB, tiny_config
from .results import assert_same_end, final_state, metrics_without_timing


def test_a_run_leaves_the_files_of_the_contract(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    outcome = train(config, shards, run)
    assert outcome.state == "finished"
    assert run.finished
    rows = list(run.metrics())
    training = [row for row in rows if "train_loss" in row]
    evaluations = [row for row in rows if "val_loss" in row]
    assert [row["step"] for row in training] == [3, 6, 9, 12]
    assert [row["step"] for row in evaluations] == [0, 4, 8, 12]
    assert training[-1]["tokens"] == 12 * 4 * 32
    assert set(training[0]["schedule"]) == {"gamma", "lr", "ema_m", "ema_v", "momentum", "decay"}
    summary = run.summary()
    assert summary["val_loss"] == evaluations[-1]["val_loss"]
    assert summary["perplexity"] == pytest.approx(math.exp(summary["val_loss"]))
    assert summary["optimizer_state_bytes"] == sum(
        2 * 4 * p.numel() + 8 for p in Enoki(config.model).parameters()
    )
    assert run.environment()["corpus"]["fingerprint"]
    assert run.config()["data"]["fingerprint"] == shards.fingerprint
    assert len(list_checkpoints(run.checkpoints)) == config.layout.keep


@pytest.mark.parametrize("name", ["adamw", "adamw-log-decay", "adana", "adana-released"])
def test_every_optimizer_trains_and_logs_its_own_schedule(name, config, shards, tmp_path):
    config = dataclasses.replace(config, optimizer=OptimizerConfig(name, lr=8e-3))
    run = Run(tmp_path / name)
    assert train(config, shards, run).state == "finished"
    losses = [row["val_loss"] for row in run.metrics() if "val_loss" in row]
    assert losses[-1] < losses[0]
    last = [row["schedule"] for row in run.metrics() if "schedule" in row][-1]
    constant_beta = name.startswith("adamw")
    assert last["ema_v"] == pytest.approx(0.001 if constant_beta else 8 / 20)
    omega_term = 4 / 12 if name == "adamw" else 4 / (4 + 12)
    assert last["decay"] == pytest.approx(last["gamma"] * omega_term)


def test_gradients_do_not_depend_on_the_micro_batch(config, shards, tmp_path):
    ends = []
    for micro in (4, 1, 3):
        layout = dataclasses.replace(config.layout, micro_batch=micro)
        run = Run(tmp_path / str(micro))
        train(dataclasses.replace(config, layout=layout), shards, run)
        ends.append((final_state(run)["tensors"], run.summary()["val_loss"]))
    for state, loss in ends[1:]:
        assert loss == pytest.approx(ends[0][1], abs=1e-4)
        for name, value in state.items():
            assert torch.allclose(value, ends[0][0][name], atol=1e-4), name


def test_the_same_seed_gives_the_same_run_and_another_seed_another(config, shards, tmp_path):
    a, b, c = (Run(tmp_path / name) for name in "abc")
    train(config, shards, a)
    train(config, shards, b)
    train(dataclasses.replace(config, seed=1), shards, c)
    assert_same_end(a, b)
    assert a.summary()["val_loss"] != c.summary()["val_loss"]


def test_a_finished_run_is_not_trained_again(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    first = train(config, shards, run)
    before = (run.path / "metrics.jsonl").stat().st_mtime_ns
    again = train(config, shards, run)
    assert again.summary == first.summary
    assert (run.path / "metrics.jsonl").stat().st_mtime_ns == before


def test_another_layout_is_the_same_run_and_another_setting_is_refused(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    layout = dataclasses.replace(config.layout, micro_batch=2, checkpoint_every=5)
    assert train(dataclasses.replace(config, layout=layout), shards, run).state == "finished"
    other = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=0.5))
    with pytest.raises(RunError, match=r"optimizer\.lr: 0\.008 there, 0\.5 asked for"):
        train(other, shards, run)


@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_a_refused_command_leaves_the_directory_to_the_right_one(
    state, config, shards, tmp_path, monkeypatch
):
    run = Run(tmp_path / "run")
    if state == "finished":
        train(config, shards, run)
    else:
        interrupted_run(config, shards, run.path, monkeypatch, 9)
    (run.path / "config.json").unlink()
    before = {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    other = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=0.5))
    with pytest.raises(RunError, match=r"belong to a run with other settings .*--run, or delete"):
        train(other, shards, run)
    assert before == {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    assert train(config, shards, run).state == "finished"


def test_a_run_whose_checkpoints_cannot_tell_is_begun_all_the_same(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    older = run.checkpoints / "step-00000001"
    older.mkdir(parents=True)
    (older / "manifest.json").write_text("[]")
    (older / "state.json").write_text("[]")
    with pytest.raises(RunError, match="none of the 1 checkpoints"):
        train(config, shards, run)


def test_a_non_finite_loss_stops_the_run_as_diverged(config, shards, tmp_path):
    config = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=1e30))
    run = Run(tmp_path / "run")
    outcome = train(config, shards, run)
    assert outcome.state == "diverged"
    assert "at step" in outcome.reason
    assert run.status()["state"] == "diverged"
    assert run.summary() is None
    before = (run.path / "metrics.jsonl").stat().st_mtime_ns
    assert train(config, shards, run) == outcome  # a diverged run is a result
    assert (run.path / "metrics.jsonl").stat().st_mtime_ns == before


def test_nan_gradients_stop_the_run_before_they_reach_the_weights(
    config, shards, tmp_path, monkeypatch
):
    clip = torch.nn.utils.clip_grad_norm_
    calls = []

    def poisoned(parameters, limit):
        parameters = list(parameters)
        calls.append(1)
        if len(calls) == 8:
            parameters[0].grad[0] = math.nan
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", poisoned)
    run = Run(tmp_path / "run")
    outcome = train(config, shards, run)
    assert (outcome.state, outcome.step) == ("diverged", 7)
    assert "gradient became nan at step 8" in outcome.reason
    kept = final_state(run)
    assert kept["step"] == 6
    assert all(value.isfinite().all() for value in kept["tensors"].values())
    # It was a fault of the machine: what the message says makes the run go on.
    (run.path / "status.json").unlink()
    messages = []
    outcome = train(config, shards, run, lambda sign: messages.append(sign.message))
    assert outcome.state == "finished"
    assert "going on from step 6" in messages


def stop_at(monkeypatch, step):
    """Make the process die, as far as the run can tell, right after a step's metrics."""

    class KilledError(BaseException):
        pass

    log = loop_module.Trainer._log

    def dying(self):
        log(self)
        if self.state.step == step:
            raise KilledError

    monkeypatch.setattr(loop_module.Trainer, "_log", dying)
    return KilledError


@pytest.mark.parametrize(
    ("step", "optimizer"),
    [
        *((step, OptimizerConfig("adana", lr=8e-3)) for step in (1, 2, 3, 12)),
        (7, OptimizerConfig("muon", lr=8e-3)),
        (7, OptimizerConfig("dana-star-mk4", lr=8e-3, state_dtype="log16")),
        (7, OptimizerConfig("adana", lr=8e-3, state_dtype="fp24")),
    ],
    ids=["adana-1", "adana-2", "adana-3", "adana-12", "muon", "log16", "fp24"],
)
def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(
    step, optimizer, config, shards, tmp_path, monkeypatch
):
    config = dataclasses.replace(config, optimizer=optimizer)
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    train(config, shards, whole)
    with monkeypatch.context() as patch:
        error = stop_at(patch, step)
        with pytest.raises(error):
            train(config, shards, killed)
    assert killed.status()["state"] == "running"
    with open(killed.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 99, "half a li')
    train(config, shards, killed)
    assert_same_end(whole, killed)


@pytest.mark.parametrize("damage", ["truncate", "flip", "no-tensors", "no-state", "no-manifest"])
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(
    damage, config, shards, tmp_path, monkeypatch
):
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    train(config, shards, whole)
    with monkeypatch.context() as patch:
        error = stop_at(patch, 9)
        with pytest.raises(error):
            train(config, shards, killed)
    older, newest = list_checkpoints(killed.checkpoints)
    (file,) = newest.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "no-tensors":
        file.unlink()
    elif damage == "no-state":
        (newest / "state.json").unlink()
    else:
        (newest / "manifest.json").unlink()
    messages = []
    train(config, shards, killed, lambda sign: messages.append(sign.message))
    assert any(f"from step {int(older.name[5:])}" in m for m in messages)
    assert any("broken checkpoint" in m and newest.name in m for m in messages)
    assert_same_end(whole, killed)


def test_data_cut_short_while_training_costs_no_step(config, corpus, shards, tmp_path, monkeypatch):
    layout = dataclasses.replace(config.layout, checkpoint_every=100)
    config = dataclasses.replace(config, layout=layout)
    whole, stopped = Run(tmp_path / "whole"), Run(tmp_path / "stopped")
    train(config, shards, whole)
    own = prepare(DataConfig(corpus=str(corpus), vocab_size=VOCAB), cache=tmp_path / "cache")
    (file,) = own.folder.glob("train-*.bin")
    content, step = file.read_bytes(), loop_module.Trainer._step

    def cutting(self):
        if self.state.step == 1:
            os.truncate(file, 100)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Trainer, "_step", cutting)
        with pytest.raises(ShardError, match=f"cut from {len(content)} bytes to 100"):
            train(config, own, stopped)
    status = stopped.status()
    assert status["state"] == "failed"
    assert "cut from" in status["reason"]
    assert 0 < status["step"] < config.steps
    (kept,) = list_checkpoints(stopped.checkpoints)
    assert checkpoint_step(kept) == status["step"]
    file.write_bytes(content)
    train(config, own, stopped)
    assert_same_end(whole, stopped)


def test_warnings_of_the_optimizer_are_told_to_whoever_listens(config, shards, tmp_path):
    said = []
    config = dataclasses.replace(config, steps=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(config, shards, Run(tmp_path / "a"), lambda sign: said.append(sign.message))
    assert any(text.startswith("warning: weight decay removes") for text in said)
    with pytest.warns(UserWarning, match="weight decay removes"):
        train(config, shards, Run(tmp_path / "b"))


class Unwell(Exception):
    """An error of a caller's own."""


@pytest.mark.parametrize("error", [Unwell("no more"), SystemExit(3)], ids=["error", "exit"])
@pytest.mark.parametrize("sign", ["loss", "val_loss"])
def test_an_error_of_whoever_listens_ends_the_run_with_a_checkpoint(
    error, sign, config, shards, tmp_path
):
    layout = dataclasses.replace(config.layout, checkpoint_every=100)
    config = dataclasses.replace(config, layout=layout)
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    train(config, shards, whole)

    def listen(progress):
        if getattr(progress, sign) is not None and progress.step > 6:
            raise error

    with pytest.raises(type(error)) as raised:
        train(config, shards, run, listen)
    assert raised.value is error
    step = {"loss": 9, "val_loss": 8}[sign]
    reason = f"on_progress raised {type(error).__name__}: {error}"
    assert run.status() == {"state": "failed", "reason": reason, "step": step}
    assert [checkpoint_step(path) for path in list_checkpoints(run.checkpoints)] == [step]
    assert train(config, shards, run).state == "finished"
    assert_same_end(whole, run)


def test_an_error_of_whoever_listens_after_the_end_leaves_the_run_finished(
    config, shards, tmp_path, monkeypatch
):
    class Failing:
        name, forgets, queues = "failing", False, False

        def start(self, run_path, config, resume_step):
            pass

        def log(self, row):
            pass

        def finish(self, state, summary):
            raise OSError("no server")

    def listen(progress):
        if "the tracker failing failed" in progress.message:
            raise Unwell("no more")

    monkeypatch.setattr(loop_module, "open_trackers", lambda names: [Failing()])
    run = Run(tmp_path / "run")
    with pytest.raises(Unwell):
        train(config, shards, run, listen)
    assert run.finished


def test_a_finished_run_is_told_of_where_nothing_can_be_written(
    config, shards, tmp_path, monkeypatch
):
    run = Run(tmp_path / "run")
    config = dataclasses.replace(config, steps=2)
    ended = train(config, shards, run)
    monkeypatch.setattr(Run, "lock", None)
    monkeypatch.setattr(Run, "create", None)
    assert train(config, shards, run).summary == ended.summary
    with pytest.raises(RunError, match="other settings"):
        train(dataclasses.replace(config, steps=3), shards, run)


@pytest.mark.parametrize("where", ["between", "while it tells"])
def test_a_signal_before_the_first_step_is_no_failure_of_the_run(
    where, config, shards, tmp_path, monkeypatch
):
    def leave(_):
        raise SystemExit(75)

    run = Run(tmp_path / "run")
    interrupted_run(config, shards, run.path, monkeypatch, 9)
    before = run.status()
    if where == "between":
        monkeypatch.setattr(loop_module.Trainer, "_resume", leave)
    with pytest.raises(SystemExit):
        train(config, shards, run, leave)
    assert run.status() == before


def break_checkpoint(path):
    (file,) = path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])


def interrupted_run(config, shards, path, monkeypatch, step):
    run = Run(path)
    with monkeypatch.context() as patch:
        error = stop_at(patch, step)
        with pytest.raises(error):
            train(config, shards, run)
    return run


def test_a_broken_checkpoint_never_displaces_a_whole_one(config, shards, tmp_path, monkeypatch):
    layout = dataclasses.replace(config.layout, checkpoint_every=4, keep=2)
    config = dataclasses.replace(config, layout=layout)
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 9)
    break_checkpoint(list_checkpoints(run.checkpoints)[-1])  # of step 8
    layout = dataclasses.replace(layout, checkpoint_every=3, keep=1)
    config = dataclasses.replace(config, layout=layout)
    with monkeypatch.context() as patch:
        error = stop_at(patch, 7)
        with pytest.raises(error):
            train(config, shards, run)
    assert [int(path.name[5:]) for path in list_checkpoints(run.checkpoints)] == [6]
    assert (run.checkpoints / ".broken-step-00000008").exists()


def test_a_checkpoint_that_breaks_twice_is_passed_over_twice(config, shards, tmp_path, monkeypatch):
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 9)
    for _ in range(2):
        newest = list_checkpoints(run.checkpoints)[-1]
        assert newest.name == "step-00000008"
        break_checkpoint(newest)
        interrupted_run(config, shards, run.path, monkeypatch, 9)
    assert train(config, shards, run).state == "finished"


def test_a_broken_checkpoint_that_cannot_be_renamed_displaces_none(
    config, shards, tmp_path, monkeypatch
):
    layout = dataclasses.replace(config.layout, checkpoint_every=4)
    config = dataclasses.replace(config, layout=layout)
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 9)
    break_checkpoint(list_checkpoints(run.checkpoints)[-1])  # of step 8

    def failing(path, to):
        raise OSError(errno.EACCES, "Permission denied")

    layout = dataclasses.replace(layout, checkpoint_every=3, keep=1)
    config = dataclasses.replace(config, layout=layout)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "_move", failing)
        interrupted_run(config, shards, run.path, monkeypatch, 7)
    names = [path.name for path in list_checkpoints(run.checkpoints)]
    assert names == ["step-00000004", "step-00000006", "step-00000008"]
    assert train(config, shards, run).state == "finished"


@pytest.mark.parametrize("how", ["broken", "no-manifest", "unreadable"])
def test_a_run_without_a_readable_checkpoint_stops_and_keeps_what_there_is(
    how, config, shards, tmp_path, monkeypatch
):
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 9)
    before = (run.path / "metrics.jsonl").read_bytes()
    if how == "broken":
        for path in list_checkpoints(run.checkpoints):
            break_checkpoint(path)
        message = r"none of the 2 checkpoints .* is whole: .*truncated.* delete the folder"
    elif how == "no-manifest":
        for path in list_checkpoints(run.checkpoints):
            (path / "manifest.json").unlink()
        message = r"none of the 2 checkpoints .* is whole: .*manifest\.json does not exist"
    else:

        def failing(path):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(checkpoint_module, "_sha256", failing)
        message = "cannot be read: Input/output error. Nothing was changed"
    with pytest.raises(RunError, match=message):
        train(config, shards, run)
    assert len(checkpoint_folders(run.checkpoints)) == 2
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_a_run_that_starts_over_says_so(config, shards, tmp_path, monkeypatch):
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 1)
    messages = []
    train(config, shards, run, lambda sign: messages.append(sign.message))
    assert any("has no checkpoint yet: starting from the beginning" in m for m in messages)


def test_rows_that_a_checkpoint_has_outlived_are_missed(config, shards, tmp_path, monkeypatch):
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 9)  # checkpoint of step 8
    (run.path / "metrics.jsonl").unlink()
    said = []
    with monkeypatch.context() as patch:
        error = stop_at(patch, 9)
        with pytest.raises(error):
            train(config, shards, run, lambda sign: said.append(sign.message))
    lost = f"{run.path / 'metrics.jsonl'} lacks 2 training rows and 2 evaluations up to step 8"
    (told,) = [text for text in said if text.startswith("warning: ") and "metrics" in text]
    assert f"{lost}, the first of step 0: the record of them is lost" in told
    assert "restore the file from a backup" in told
    rows = [row for row in run.metrics() if row["step"] != 8]
    assert rows
    assert train(config, shards, run).state == "finished"


@pytest.mark.parametrize("step", [3, 8, 9])
def test_no_row_is_missed_of_a_run_that_was_killed(step, config, shards, tmp_path, monkeypatch):
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, step)
    said = []
    train(config, shards, run, lambda sign: said.append(sign.message))
    assert not any("lacks" in text for text in said)


def test_rows_of_a_run_that_lost_its_checkpoints_are_kept(config, shards, tmp_path, monkeypatch):
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    train(config, shards, whole)
    said = []
    for number in (1, 2):
        interrupted_run(config, shards, run.path, monkeypatch, 9)
        before = (run.path / "metrics.jsonl").read_bytes()
        shutil.rmtree(run.checkpoints)
        with monkeypatch.context() as patch:
            error = stop_at(patch, 9)
            with pytest.raises(error):
                train(config, shards, run, lambda sign: said.append(sign.message))
        aside = run.path / f"metrics.jsonl.{number}"
        assert aside.read_bytes() == before
        assert any(
            f"come to step 9: starting from the beginning. What it recorded is kept in {aside}"
            in text
            for text in said
        )
    train(config, shards, run)
    assert_same_end(whole, run)


@pytest.mark.parametrize("content", ["", '{"state": "runn', "[]", "{}"])
@pytest.mark.parametrize("when", ["killed", "finished"])
def test_a_damaged_status_stops_no_run(when, content, config, shards, tmp_path, monkeypatch):
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    train(config, shards, whole)
    if when == "finished":
        train(config, shards, run)
        shutil.rmtree(run.checkpoints)  # pruned
    else:
        interrupted_run(config, shards, run.path, monkeypatch, 9)
    rows = (run.path / "metrics.jsonl").read_bytes()
    (run.path / "status.json").write_text(content)
    said = []
    outcome = train(config, shards, run, lambda sign: said.append(sign.message))
    assert outcome.state == "finished"
    assert any("status.json was damaged; it is now that of step" in text for text in said)
    if when == "finished":
        assert outcome.reason == "already trained"
        assert (run.path / "metrics.jsonl").read_bytes() == rows
    else:
        assert_same_end(whole, run)


@pytest.mark.parametrize("status", ["damaged", "deleted"])
def test_rows_of_a_run_that_lost_all_but_them_are_kept(
    status, config, shards, tmp_path, monkeypatch
):
    run = interrupted_run(config, shards, tmp_path / "run", monkeypatch, 9)
    before = (run.path / "metrics.jsonl").read_bytes()
    if status == "damaged":
        (run.path / "status.json").write_text("")
    else:
        (run.path / "status.json").unlink()
    shutil.rmtree(run.checkpoints)
    assert train(config, shards, run).state == "finished"
    assert (run.path / "metrics.jsonl.1").read_bytes() == before


def test_the_last_file_of_a_checkpoint_on_a_full_disk_is_told_of_once(
    config, shards, tmp_path, monkeypatch
):
    def failing(value):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = Run(tmp_path / "run")
    monkeypatch.setattr(checkpoint_module, "json_text", failing)
    with pytest.raises(RunError, match="cannot write the checkpoint") as failure:
        train(config, shards, run)
    assert str(failure.value).count("cannot write") == 1
    assert str(failure.value).count("Free some space") == 1
    assert not list(run.checkpoints.iterdir())


def test_a_checkpoint_is_written_when_the_last_one_is_too_old(
    config, shards, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", 0.0)
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    layout = dataclasses.replace(config.layout, checkpoint_every=100, keep=20)
    often = dataclasses.replace(config, layout=layout)
    train(often, shards, run)
    assert [path.name for path in list_checkpoints(run.checkpoints)] == [
        f"step-{step:08d}" for step in range(1, 13)
    ]
    monkeypatch.undo()
    train(config, shards, whole)
    assert_same_end(whole, run)


@pytest.mark.parametrize("step", [3, 11])
def test_a_signal_saves_before_an_evaluation_that_is_due_which_is_made_later(
    step, config, shards, tmp_path, monkeypatch
):
    log = loop_module.Trainer._log

    def signalled(self):
        log(self)
        if self.state.step == step:
            self.interrupted.signal = signal.SIGTERM

    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    train(config, shards, whole)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Trainer, "_log", signalled)
        outcome = train(config, shards, run)
    assert (outcome.state, outcome.step) == ("interrupted", step + 1)
    assert not any("val_loss" in row and row["step"] == step + 1 for row in run.metrics())
    assert train(config, shards, run).state == "finished"
    assert_same_end(whole, run)


def test_the_seconds_of_a_run_are_those_of_all_that_it_did(config, shards, tmp_path, monkeypatch):
    def slow(*arguments, **more):
        time.sleep(0.2)
        return evaluate(*arguments, **more)

    monkeypatch.setattr(loop_module, "evaluate", slow)
    summary = train(config, shards, Run(tmp_path / "run")).summary
    assert summary["seconds"] >= sum(summary["time_split"].values()) - 0.01


def test_a_full_disk_fails_the_run_clearly_and_it_goes_on_later(
    config, shards, tmp_path, monkeypatch
):
    whole, full = Run(tmp_path / "whole"), Run(tmp_path / "full")
    train(config, shards, whole)
    save = dcp.save
    saves = []

    def failing(tensors, storage_writer, **options):
        saves.append(1)
        if len(saves) == 3:
            (storage_writer.path / "shard-00001.safetensors").write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, storage_writer=storage_writer, **options)

    with monkeypatch.context() as patch:
        patch.setattr(dcp, "save", failing)
        with pytest.raises(RunError, match=r"No space left on device.*Free some space"):
            train(config, shards, full)
    assert full.status()["state"] == "failed"
    assert [path.name for path in list_checkpoints(full.checkpoints)] == [
        "step-00000002",
        "step-00000004",
    ]
    assert not list(full.checkpoints.glob(".unfinished*"))
    train(config, shards, full)
    assert_same_end(whole, full)


def test_a_config_of_another_version_is_refused(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    content = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(RunError, match=r"version 99.*new directory"):
        train(config, shards, run)
    with pytest.raises(RunError, match="does not fit this version"):
        config_from_dict({**content, "invented": 1})
    with pytest.raises(RunError, match="does not fit this version"):
        config_from_dict({k: v for k, v in content.items() if k != "model"})


def test_a_config_survives_the_round_trip_through_json(config, shards):
    content = json.loads(json.dumps(config_to_dict(config, shards.fingerprint)))
    assert config_from_dict(content) == config.resolve()


def test_a_run_in_use_is_refused(config, shards, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    monkeypatch.setattr(runs, "LOCK_PATIENCE", 0.2)
    with run.lock(), pytest.raises(RunError, match="in use by another process"):
        train(config, shards, run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"clip": 0.0}, "clip"),
        ({"clip": math.nan}, "clip"),
        ({"z_coeff": -1.0}, "z_coeff"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(corpus, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(corpus, **changes)


@pytest.mark.parametrize("lr", [0.0, -1e-3, math.nan, math.inf])
def test_learning_rates_that_are_not_positive_are_refused(lr):
    with pytest.raises(ValueError, match="lr must be a finite number"):
        OptimizerConfig("adana", lr=lr)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ScheduleConfig, {"final": 2.0}, "final"),
        (ScheduleConfig, {"final": math.nan}, "final"),
        (ScheduleConfig, {"warmup_steps": -1}, "warmup_steps must be at least 0"),
        (LayoutConfig, {"threads": 0}, "threads must be at least 1"),
        (LayoutConfig, {"keep": 0}, "keep must be at least 1"),
        (LayoutConfig, {"checkpoint_every": -5}, "checkpoint_every must be at least 1"),
    ],
)
def test_schedules_and_layouts_out_of_range_are_refused(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_a_warm_up_longer_than_the_run_is_refused(corpus):
    with pytest.raises(ValueError, match="warmup_steps must be below the 12 steps"):
        tiny_config(corpus, schedule=ScheduleConfig(warmup_steps=12))


def test_adamw_refuses_to_remove_whole_weights(config, shards, tmp_path):
    config = dataclasses.replace(config, optimizer=OptimizerConfig("adamw", lr=1e-3), steps=4)
    with pytest.raises(ValueError, match="omega 4 over 4 steps"):
        train(config, shards, Run(tmp_path / "run"))


def test_whole_numbers_and_floats_are_the_same_configuration(config, shards):
    integer = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=8e-3, omega=4))
    assert config_to_dict(integer, "x") == config_to_dict(config, "x")
    assert isinstance(config_to_dict(integer, "x")["optimizer"]["omega"], float)


def test_a_refused_start_leaves_the_directory_free(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    wrong = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=8e-3, kappa=2.0))
    with pytest.raises(ValueError, match="kappa"):
        train(wrong, shards, run)
    assert train(config, shards, run).state == "finished"


def test_a_checkpoint_of_another_version_is_kept_and_refused(config, shards, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "CHECKPOINT_VERSION", 99)
        error = stop_at(patch, 9)
        with pytest.raises(error):
            train(config, shards, run)
    before = list_checkpoints(run.checkpoints)
    with pytest.raises(RunError, match="checkpoint version 99, this adana reads 2"):
        train(config, shards, run)
    assert list_checkpoints(run.checkpoints) == before


def test_a_non_finite_validation_loss_is_divergence(config, shards, tmp_path, monkeypatch):
    def broken(*_, **__):
        return Evaluation(loss=math.nan, standard_error=None, bits_per_byte=math.nan)

    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        error = stop_at(patch, 3)
        with pytest.raises(error):
            train(config, shards, run)
    monkeypatch.setattr(loop_module, "evaluate", broken)
    outcome = train(config, shards, run)
    assert (outcome.state, outcome.step) == ("diverged", 4)
    assert "validation loss became nan" in outcome.reason
    assert run.summary() is None


def test_a_single_validation_window_has_no_standard_error(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    outcome = train(dataclasses.replace(config, eval_tokens=32), shards, run)
    assert outcome.summary["val_loss_document_se"] is None


def test_lost_metrics_are_noticed_at_the_end(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    (run.path / "summary.json").unlink()
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match="lacks the last training row"):
        train(config, shards, run)


def test_going_on_with_other_threads_is_said(config, shards, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        error = stop_at(patch, 9)
        with pytest.raises(error):
            train(config, shards, run)
    messages = []
    layout = dataclasses.replace(config.layout, threads=2)
    other = dataclasses.replace(config, layout=layout)
    train(other, shards, run, lambda sign: messages.append(sign.message))
    assert any("begun with 1 threads and goes on with 2" in m for m in messages)


def test_sessions_keep_their_versions_and_other_ones_are_said(
    config, shards, tmp_path, monkeypatch
):
    run = Run(tmp_path / "run")
    real = loop_module.environment
    with monkeypatch.context() as patch:

        def older(device):
            here = real(device)
            return {**here, "adana": "0.0.9", "packages": {**here["packages"], "torch": "2.9.0"}}

        patch.setattr(loop_module, "environment", older)
        interrupted_run(config, shards, run.path, monkeypatch, 9)
    messages = []
    train(config, shards, run, lambda sign: messages.append(sign.message))
    (said,) = (m for m in messages if "version" in m)
    torch_now = run.environment()["packages"]["torch"]
    assert f"torch 2.9.0, now {torch_now}" in said
    assert "adana 0.0.9, now" in said
    first, second = run.environment()["sessions"]
    assert (first["from_step"], first["adana"], first["torch"]) == (0, "0.0.9", "2.9.0")
    assert (second["from_step"], second["torch"]) == (8, torch_now)
    assert (second["micro_batch"], second["parallel"], second["compile"]) == (4, "ddp", False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dana-mk4", {"lr": 8e-3, "omega": 4.0, "clip_snr": pytest.approx(0.25), "eps": 1e-8}),
        ("adamw", {"lr": 8e-3, "betas": [0.9, 0.999], "eps": 1e-8}),
        ("muon", {"lr": 8e-3, "momentum": 0.95, "ns_steps": 5}),
    ],
)
def test_the_environment_tells_the_defaults_that_an_optimizer_took(
    name, expected, config, shards, tmp_path
):
    run = Run(tmp_path / "run")
    config = dataclasses.replace(config, optimizer=OptimizerConfig(name, lr=8e-3), steps=5)
    train(config, shards, run)
    told = run.environment()["optimizer"]
    assert {key: told[key] for key in expected} == expected
    assert "params" not in told


def test_only_the_rank_that_holds_the_directory_says_how_a_run_ended(tmp_path):
    run = Run(tmp_path)
    run.set_status("finished", step=12)
    for rank, state in ((1, "finished"), (0, "failed")):
        world = World(torch.device("cpu"), rank, size=2)
        _record_failure(run, 7, "the network", world)
        assert run.status()["state"] == state


def test_unknown_optimizers_vocabularies_and_devices_are_refused(config, shards, tmp_path):
    unknown = dataclasses.replace(config, optimizer=OptimizerConfig("adan", lr=1e-3))
    with pytest.raises(ValueError, match="unknown optimizer 'adan'"):
        train(unknown, shards, Run(tmp_path / "a"))
    model = dataclasses.replace(config.model, vocab_size=299)
    with pytest.raises(ValueError, match="299 tokens, the data's tokenizer 300"):
        train(dataclasses.replace(config, model=model), shards, Run(tmp_path / "b"))
    layout = dataclasses.replace(config.layout, device="nonsense")
    with pytest.raises(ValueError, match="device 'nonsense'"):
        train(dataclasses.replace(config, layout=layout), shards, Run(tmp_path / "c"))


def test_reported_losses_are_cross_entropy_without_the_z_loss(config, shards, tmp_path):
    plain, with_z = (Run(tmp_path / name) for name in ("plain", "z"))
    train(dataclasses.replace(config, steps=1, log_every=1), shards, plain)
    train(dataclasses.replace(config, steps=1, log_every=1, z_coeff=10.0), shards, with_z)
    one, other = (next(r for r in run.metrics() if "train_loss" in r) for run in (plain, with_z))
    assert one["train_loss"] == other["train_loss"]
    assert one["train_z"] == other["train_z"] > 1.0
    assert one["grad_norm"] < other["grad_norm"]


def test_evaluation_reports_mean_standard_error_and_bits_per_byte(config, shards):
    model = Enoki(config.model)
    windows = validation_windows(shards.validation, 32, 512)
    token_bytes = shards.tokenizer.token_bytes()
    single = np.arange(len(windows))
    world = World(torch.device("cpu"))
    result = evaluate(model, model, windows, token_bytes, world, documents=single)
    with torch.no_grad():
        logits = model(torch.from_numpy(windows[:, :-1]))
    per_token = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), torch.from_numpy(windows[:, 1:]), reduction="none"
    )
    per_window = per_token.mean(1)
    assert result.loss == pytest.approx(per_token.mean().item(), rel=1e-5)
    expected = per_window.std().item() / math.sqrt(len(windows))
    assert result.standard_error == pytest.approx(expected, rel=1e-4)
    bits = per_token.sum().item() / math.log(2)
    assert result.bits_per_byte == pytest.approx(bits / token_bytes[windows[:, 1:]].sum(), rel=1e-5)


def test_the_error_of_a_loss_is_that_of_so_many_documents():
    rng = np.random.default_rng(0)
    documents = np.repeat(np.arange(40), rng.integers(1, 12, 40))
    means = []
    for _ in range(2000):  # other documents of the same lengths
        level = rng.standard_normal(40)
        means.append((level[documents] + 0.1 * rng.standard_normal(len(documents))).mean())
    losses = rng.standard_normal(40)[documents] + 0.1 * rng.standard_normal(len(documents))
    assert error_of_mean(losses, documents) == pytest.approx(np.std(means), rel=0.3)
    alone = losses.std(ddof=1) / math.sqrt(len(losses))
    assert alone < 0.6 * np.std(means)
    assert error_of_mean(losses, np.arange(len(losses))) == pytest.approx(alone)
    assert error_of_mean(losses, np.zeros(len(losses), int)) is None


@pytest.mark.parametrize("lengths", [[10] * 12, [1] * 20 + [20], [1] * 20 + [180], [99, 1]])
def test_the_error_of_a_loss_holds_whatever_the_lengths_of_documents(lengths):
    rng = np.random.default_rng(0)
    documents = np.repeat(np.arange(len(lengths)), lengths)
    draws = [rng.standard_normal(len(lengths))[documents] for _ in range(2000)]
    true = np.std([losses.mean() for losses in draws])
    said = np.sqrt(np.mean([error_of_mean(losses, documents) ** 2 for losses in draws]))
    assert said == pytest.approx(true, rel=0.08)


def test_resumed_rows_replace_those_written_after_the_checkpoint(
    config, shards, tmp_path, monkeypatch
):
    run = Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        error = stop_at(patch, 9)
        with pytest.raises(error):
            train(config, shards, run)
    train(config, shards, run)
    keys = [(row["step"], "val_loss" in row) for row in metrics_without_timing(run)]
    assert len(keys) == len(set(keys))


def test_a_copy_of_a_checkpoint_under_another_name_is_none(config, shards, tmp_path):
    run = Run(tmp_path / "run")
    train(config, shards, run)
    there = list_checkpoints(run.checkpoints)
    shutil.copytree(there[-1], there[-1].with_name(f"{there[-1].name}.bak"))
    assert list_checkpoints(run.checkpoints) == there
