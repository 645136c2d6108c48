"""Real signals against a real process: nothing that was computed is lost, nothing done twice."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adana.data import prepare
from adana.runs import Run
from adana.train.checkpoint import list_checkpoints

from .conftest import tiny_config
from .results import assert_same_end

PROGRAM = """
import sys
from pathlib import Path
from adana.data import open_shards
from adana.runs import Run
from adana.train import train
from tests.train.conftest import tiny_config

corpus, shards, run, steps = sys.argv[1:]
config = tiny_config(Path(corpus), steps=int(steps), eval_every=50, log_every=7)
print(train(config, open_shards(Path(shards)), Run(Path(run))).state)
"""
STEPS = 300


@pytest.fixture
def start(corpus, shards):
    """Start a training process; returns (Popen, run)."""

    def begin(run: Path) -> subprocess.Popen:
        root = Path(__file__).parents[2]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, corpus, shards.folder, run, str(STEPS)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )

    return begin


def wait_for_checkpoint(run: Run, process: subprocess.Popen, beyond: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = list_checkpoints(run.checkpoints)
        if found and int(found[-1].name[5:]) > beyond:
            return
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.01)
    raise AssertionError("no checkpoint within two minutes")


def test_kill_minus_nine_then_the_same_command_ends_bit_identically(start, tmp_path):
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    assert start(whole.path).communicate()[0].strip() == "finished"
    for beyond in (10, 120):
        process = start(killed.path)
        wait_for_checkpoint(killed, process, beyond)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert killed.status()["state"] == "running"
    assert start(killed.path).communicate()[0].strip() == "finished"
    assert_same_end(whole, killed)


def test_ten_kills_at_random_moments_change_nothing(start, tmp_path):
    """Not only between steps: also while importing, resuming and writing a checkpoint."""
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    start(whole.path).communicate()
    moments = random.Random(0)
    for _ in range(10):
        process = start(killed.path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(2.0, 8.0))
        process.kill()
        process.wait()
    assert start(killed.path).communicate()[0].strip() == "finished"
    assert_same_end(whole, killed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint_at_the_step_reached(start, tmp_path, number):
    run = Run(tmp_path / "run")
    process = start(run.path)
    wait_for_checkpoint(run, process, 10)
    process.send_signal(number)
    assert process.communicate()[0].strip() == "interrupted"
    status = run.status()
    assert status["state"] == "interrupted"
    assert number.name in status["reason"]
    assert int(list_checkpoints(run.checkpoints)[-1].name[5:]) == status["step"]


def test_preparing_uses_no_network_and_no_home(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    config = tiny_config(corpus)
    assert prepare(config.data, cache=tmp_path / "cache").folder.is_dir()
