"""Real signals against a real process: nothing that was computed is lost, nothing done twice."""

import contextlib
import os
import random
import signal
import time

import pytest

from adana.data import open_shards
from adana.runs import Run
from adana.train import LayoutConfig, checkpoint_step, list_checkpoints, train
from tests.ranks import forkserver

from .conftest import tiny_config
from .results import assert_same_end

STEPS = 100
CHECKPOINT_EVERY = 5
ENDLESS = 10**6
WAIT = 120.0
"""Seconds that a process may take for what it does in one, so that a busy machine fails no test."""


def train_and_tell(pipe, corpus, folder, path, steps, pause):
    """Train in a process of its own, tell of each logged step, and stand still from `pause` on."""

    def tell(progress):
        pipe.send(progress.step)
        while progress.step >= pause:
            time.sleep(1)

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    layout = LayoutConfig(device="cpu", threads=1, checkpoint_every=CHECKPOINT_EVERY)
    config = tiny_config(corpus, steps=steps, eval_every=40, log_every=3, layout=layout)
    pipe.send(train(config, open_shards(folder), Run(path), tell).state)


class Training:
    """A training in another process."""

    def __init__(self, *arguments):
        context = forkserver()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=train_and_tell, args=(theirs, *arguments))
        self.process.start()
        theirs.close()

    def hear(self):
        """Return the next that it tells: a step, or how it ended."""
        assert self.pipe.poll(WAIT), f"nothing was heard for {WAIT:.0f} seconds"
        return self.pipe.recv()

    def wait_for_step(self, step):
        while (heard := self.hear()) < step:
            pass
        return heard

    def end(self):
        """Wait for its end; return how it ended."""
        while isinstance(heard := self.hear(), int):
            pass
        self.process.join(WAIT)
        return heard

    def kill(self):
        self.process.kill()
        self.process.join()


@pytest.fixture(scope="module")
def start(corpus, shards):
    """A function that starts a training; what failed tests have left is killed at the end."""
    with contextlib.ExitStack() as started:

        def begin(run, steps=STEPS, pause=ENDLESS):
            training = Training(corpus, shards.folder, run.path, steps, pause)
            started.callback(training.kill)
            return training

        yield begin


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """A run that nothing has stopped."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    assert start(run).end() == "finished"
    return run


def last_checkpoint(run):
    return checkpoint_step(list_checkpoints(run.checkpoints)[-1])


def test_kill_minus_nine_then_the_same_command_ends_bit_identically(start, whole, tmp_path):
    run = Run(tmp_path / "killed")
    for step in (12, 51):
        training = start(run, pause=step + 30)
        training.wait_for_step(step)
        training.kill()
        assert run.status()["state"] == "running"
        assert last_checkpoint(run) >= step - CHECKPOINT_EVERY
    assert start(run).end() == "finished"
    assert_same_end(whole, run)


def test_ten_kills_at_random_moments_change_nothing(start, whole, tmp_path):
    """Not only between steps: also while starting, resuming and writing a checkpoint."""
    run, moments = Run(tmp_path / "killed"), random.Random(0)
    for number in range(10):
        training = start(run, pause=9 * (number + 1))
        if number % 3:
            training.hear()
        time.sleep(moments.uniform(0.0, 0.3))
        training.kill()
    assert not run.finished
    assert start(run).end() == "finished"
    assert_same_end(whole, run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_a_checkpoint_at_the_step_reached(start, tmp_path, number):
    run = Run(tmp_path / "run")
    training = start(run, steps=ENDLESS)
    training.wait_for_step(12)
    os.kill(training.process.pid, number)
    assert training.end() == "interrupted"
    status = run.status()
    assert status["state"] == "interrupted"
    assert number.name in status["reason"]
    assert last_checkpoint(run) == status["step"]
