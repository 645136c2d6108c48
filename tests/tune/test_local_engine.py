"""Real processes, real signals."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adana.tune import run_jobs
from adana.tune.worker import GROUP_SIGNALS

from .jobs import Locked, beat, misbehave, span, square

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("quick_workers")
def test_results_come_back_by_name_and_no_more_jobs_run_than_workers():
    events, ended = [], []
    payloads = {"a": 0.3, "b": 0.3, "c": 0.0, "d": 0.0}
    results = run_jobs(
        span,
        payloads,
        workers=2,
        on_event=lambda *event: events.append(event),
        on_result=lambda name, result: ended.append((name, result)),
    )
    assert results.keys() == payloads.keys()
    assert dict(ended) == results
    assert not any(result.error for result in results.values())
    spans = [result.value for result in results.values()]
    for begun, _ in spans:
        assert sum(b <= begun < e for b, e in spans) <= 2
    for name in payloads:
        assert [event for job, event in events if job == name] == list(range(20))


@pytest.mark.usefixtures("quick_workers")
def test_one_worker_runs_the_jobs_in_order():
    ended = []
    run_jobs(square, {"b": 3, "a": 4}, 1, on_result=lambda name, r: ended.append((name, r.value)))
    assert ended == [("b", 9), ("a", 16)]


@pytest.mark.parametrize("workers", [0, -1])
def test_less_than_one_worker_is_refused(workers):
    with pytest.raises(ValueError, match=f"workers must be at least 1, got {workers}"):
        run_jobs(square, {"a": 1}, workers)


def test_no_jobs_have_no_results():
    assert run_jobs(square, {}, 1) == {}


@pytest.mark.usefixtures("quick_workers")
def test_a_job_that_fails_in_any_way_says_how_and_the_others_finish():
    payloads = {
        "raise": "raise",
        "payload": Locked(),
        "kill": "kill",
        "exit": "exit",
        "event": "event",
        "result": "result",
        "unreadable": "unreadable",
        "good": "good",
    }
    results = run_jobs(misbehave, payloads, workers=2)
    errors = {name: result.error for name, result in results.items()}
    assert errors.keys() == payloads.keys()
    assert errors["raise"] == "ValueError: the reason"
    assert 'raise ValueError("the reason")' in results["raise"].details
    assert "SIGKILL" in errors["kill"]
    assert "memory" in errors["kill"]
    assert "exit code 7" in errors["exit"]
    assert errors["payload"] == "TypeError: cannot pickle this payload"
    assert "pickle" in errors["event"]
    assert "pickle" in errors["result"]
    assert "cannot be read in another process" in errors["unreadable"]
    assert results["good"].value == "good"
    assert errors["good"] == ""


@pytest.mark.usefixtures("quick_workers")
def test_a_lone_job_that_cannot_start_is_an_error_and_not_a_wait():
    assert "cannot pickle" in run_jobs(misbehave, {"a": Locked()}, workers=1)["a"].error
    assert "pickle" in run_jobs(lambda payload, emit: 1, {"a": 1}, workers=1)["a"].error


@pytest.mark.usefixtures("quick_workers")
def test_a_callback_that_raises_leaves_no_job_running(tmp_path):
    def fail(name, event):
        raise RuntimeError("the screen is gone")

    others = set(multiprocessing.active_children())  # of other tests in this process, if any
    with pytest.raises(RuntimeError, match="the screen is gone"):
        run_jobs(beat, {"a": (tmp_path, "a", "listening")}, workers=1, on_event=fail)
    deadline = time.monotonic() + 30
    while running := set(multiprocessing.active_children()) - others:
        assert time.monotonic() < deadline, running
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path):
    """Start the program of `jobs.main`, in a process group of its own as a terminal would."""
    started = []

    def begin(mode: str = "listening") -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.tune.jobs", tmp_path, mode],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def beating(folder: Path, name: str) -> tuple[int, int, int] | None:
    """Return (process id, beats, SIGTERMs) of a job of `beat`, or None if it has not begun."""
    try:
        pid, beats, signals = (folder / name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid), int(beats), int(signals)


def wait_until_both_beat(folder: Path, process: subprocess.Popen, signals: int = 0) -> None:
    """Wait until both running jobs live, and each has had so many SIGTERMs."""
    deadline = time.monotonic() + 120
    while True:
        ended = process.poll() is not None  # looked at first: what it wrote before that counts
        if all((state := beating(folder, name)) and state[2] >= signals for name in ("a", "b")):
            return
        assert not ended, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_after_a_signal_running_jobs_save_and_waiting_ones_never_start(start, tmp_path, number):
    process = start()
    wait_until_both_beat(tmp_path, process)
    if number in GROUP_SIGNALS:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    if number == signal.SIGHUP:  # and once more from the shell
        wait_until_both_beat(tmp_path, process, signals=1)
        os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert json.loads(output) == {"a": "saved", "b": "saved"}
    assert errors == ""
    assert process.returncode == 0
    assert beating(tmp_path, "c") is None


@pytest.mark.slow
def test_a_second_ctrl_c_kills_what_does_not_stop(start, tmp_path):
    process = start("deaf")
    wait_until_both_beat(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)
    wait_until_both_beat(tmp_path, process, signals=1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (output.strip(), errors, process.returncode) == ("{}", "", 0)
    assert beating(tmp_path, "c") is None


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/thread-self/children").exists(), reason="this kernel lists no children"
)
@pytest.mark.parametrize("number", GROUP_SIGNALS)
@pytest.mark.parametrize("after", [0.0, 0.1, 0.5, 1.5])
def test_a_signal_while_jobs_are_starting_ends_without_failures(start, tmp_path, number, after):
    process = start()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 120
    while len(children.read_text().split()) < 3:  # the resource tracker and two workers
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    results = json.loads(output)
    assert set(results) <= {"a", "b"}
    assert set(results.values()) <= {"saved"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["listening", "mute"])
def test_workers_stop_by_themselves_when_the_parent_is_killed(start, tmp_path, mode):
    process = start(mode)
    wait_until_both_beat(tmp_path, process)
    process.kill()
    process.wait()
    before = None
    deadline = time.monotonic() + 30
    while (now := (beating(tmp_path, "a"), beating(tmp_path, "b"))) != before:
        assert time.monotonic() < deadline, "the workers live on"
        before = now
        time.sleep(1)
