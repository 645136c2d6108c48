"""Signals as flags: which one counts, and which acts as usual."""

import os
import signal
import time

import pytest

from adana.cli.train import _since, parse_duration, stopping_early
from adana.train.interrupt import InterruptFlag


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def test_the_first_signal_counts_and_a_schedulers_further_ones_change_nothing():
    with InterruptFlag() as flag:
        assert not flag
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert flag.reason == "by SIGUSR1"


@pytest.fixture
def usual():
    """Have Ctrl-C raise, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual")
def test_a_second_ctrl_c_acts_as_usual():
    with InterruptFlag() as flag:
        send(signal.SIGINT)
        assert flag.reason == "by SIGINT"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


@pytest.mark.parametrize("how", [InterruptFlag, stopping_early])
def test_a_lost_terminal_is_heeded_unless_it_is_ignored_as_under_nohup(how):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with how():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            send(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with how():
            assert callable(signal.getsignal(signal.SIGHUP))
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with InterruptFlag():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_time_limit_counts_from_the_construction():
    flag = InterruptFlag(time_limit=0.05)
    assert not flag
    time.sleep(0.06)
    with flag:
        assert flag.reason == "by the time limit of 0.05 seconds"


def test_the_time_limit_is_told_as_it_was_given():
    flag = InterruptFlag(time_limit=1209600.0, since=time.monotonic() - 1209601.0)
    assert flag.reason == "by the time limit of 1209600 seconds"


def test_a_time_limit_leaves_a_second_for_training():
    now = time.monotonic()
    assert _since(now - 5.0, None) == _since(now - 5.0, 100.0) == now - 5.0
    assert now + 0.9 <= _since(now - 5.0, 4.0) + 4.0 <= time.monotonic() + 1.1


def test_a_signal_before_the_first_step_has_the_exit_code_of_an_interruption():
    with pytest.raises(SystemExit) as end, stopping_early():
        send(signal.SIGTERM)
    assert end.value.code == 75


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45:00", 2700), ("3:50:00", 13800), ("0.5", 0.5)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "1:2:3:4", "-5", "1:-5", "inf"])
def test_durations_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"is not a time such as 3:50:00"):
        parse_duration(text)
