"""Output that cannot be written, and terminals that go away: the work goes on."""

import errno
import fcntl
import io
import os
import select
import signal
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from adana.cli import compare, main, terminal
from adana.cli.progress import Display
from adana.cli.terminal import Output, say, unbreakable
from adana.runs import Run, find_runs
from adana.train import Progress
from adana.train.checkpoint import checkpoint_step, list_checkpoints
from tests.ranks import forkserver
from tests.train.conftest import write_corpus

from .test_command_line import TINY

LONG = ("--steps", "100000", "--checkpoint-every", "1000")
WAIT = 120.0


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    write_corpus(tmp_path / "corpus")


@pytest.fixture(params=["full-disk", "broken-pipe"])
def broken(request):
    """A file that cannot be written, as `>>LOG` on a full disk or `| head` leave it."""
    if request.param == "full-disk":
        file = open("/dev/full", "w")  # noqa: SIM115
    else:
        read, write = os.pipe()
        os.close(read)
        file = os.fdopen(write, "w")
    yield file
    file.close()


def adana(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def test_output_falls_silent_once_and_nothing_is_raised(broken, capsys):
    console = unbreakable(Console(file=broken))
    for _ in range(3):
        say(console, "a line")
        console.print("another")
    with Display(console, 10, jobs=1) as display:
        display.update("run", Progress(10, 10, loss=1.0, message="a word"))
        display.finish("run", "finished")
    assert isinstance(console.file, Output)
    assert console.file.error is not None
    assert capsys.readouterr().err.count("output can no longer be written (") == 1


def test_bars_on_a_terminal_that_is_gone_raise_nothing(broken, capsys):
    console = Console(file=broken, width=120, force_terminal=True)
    with Display(console, 20, jobs=2) as display:
        display.update("run", Progress(5, 10, loss=1.0))
        display._bars.refresh()
        display.finish("run", "finished")
    assert capsys.readouterr().err.count("output can no longer be written (") == 1


def test_where_standard_error_is_gone_too_nothing_is_said(broken, monkeypatch):
    monkeypatch.setattr(sys, "stderr", broken)
    say(unbreakable(Console(file=broken)), "a line")
    say(unbreakable(Console(file=open("/dev/full", "w"))), "a line")  # noqa: SIM115 - it stays as it is
    sys.stderr.flush()  # what was left of it went nowhere


def test_a_stream_without_a_file_falls_silent_too(capsys):
    class Failing(io.StringIO):
        def flush(self):
            raise OSError(errno.EIO, "Input/output error")

    console = unbreakable(Console(file=Failing()))
    say(console, "a line")
    say(console, "another")
    assert console.file.getvalue() == "a line\n"
    assert "written (Input/output error); the command goes on" in capsys.readouterr().err


def test_a_character_that_the_encoding_lacks_is_a_question_mark(monkeypatch):
    binary = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(binary, encoding="ascii"))
    assert adana("train", "--data", "corpus", *TINY, "--run", "run") == 0
    assert b"validation loss" in binary.getvalue()
    assert b"(? " in binary.getvalue()  # the plus-minus of its standard error


@pytest.mark.parametrize(
    "words", [("--help",), ("ladder", "run", "--help"), ("ladder", "plan", "--json", "plan.json")]
)
def test_what_is_to_be_printed_and_cannot_be_is_a_failure(words, broken, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", broken)
    assert adana(*words) == 1
    broken.flush()  # as the interpreter does at its end
    full = "adana: output cannot be written (No space left on device)\n"
    assert capsys.readouterr().err == (full if broken.name == "/dev/full" else "")
    assert Path("plan.json").exists() == ("plan.json" in words)


def test_an_error_that_cannot_be_told_is_a_code_all_the_same(monkeypatch):
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115 - closing it would fail
    monkeypatch.setattr(sys, "stderr", full)
    assert adana("runs", "show", "no-such-run") == 1
    terminal._send_to_nowhere(full)


@pytest.mark.parametrize("errors", ["gone-too", "there"])
def test_a_training_whose_output_cannot_be_written_ends_as_others_do(
    errors, broken, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdout", broken)
    if errors == "gone-too":
        monkeypatch.setattr(sys, "stderr", broken)
    assert adana("train", "--data", "corpus", *TINY, "--run", "run") == 0
    assert Run(Path("run")).finished
    broken.flush()  # as the interpreter does at its end
    said = capsys.readouterr().err
    assert said.count("output can no longer be written (") == (errors == "there")
    assert "Error" not in said


def test_a_comparison_whose_output_cannot_be_written_ends_as_others_do(monkeypatch):
    monkeypatch.setattr(compare, "write_comparison", lambda *_, **__: None)  # seconds of charts
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        words = ("adamw", "adana", "--data", "corpus", *TINY, "--lr", "adamw=0.01", "adana=0.01")
        assert adana("compare", *words, "--seeds", "1") == 0
    runs = find_runs(Path("runs"))
    assert len(runs) == 2
    assert all(run.finished for run in runs)


def train_on_terminal(terminal: str, cache: str) -> None:
    """Train as a shell on that terminal would have it: closing it sends SIGHUP."""
    os.environ["ADANA_CACHE"] = cache
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    os.setsid()
    own = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(own, termios.TIOCSCTTY, 0)
    for stream in (1, 2):
        os.dup2(own, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
    main(("train", "--data", "corpus", *TINY, *LONG, "--run", "run"))


def test_a_terminal_that_is_closed_ends_a_training_with_a_checkpoint(tmp_path):
    ours, theirs = os.openpty()
    arguments = (os.ttyname(theirs), str(tmp_path / "cache"))
    process = forkserver().Process(target=train_on_terminal, args=arguments)
    process.start()
    run = Run(Path("run"))
    deadline = time.monotonic() + WAIT
    try:
        while not any("train_loss" in row for row in run.metrics()):
            assert process.is_alive()
            assert time.monotonic() < deadline
            if select.select([ours], [], [], 0.05)[0]:
                os.read(ours, 65536)  # a full buffer would stop it
        os.close(ours)
        process.join(WAIT)
    finally:
        process.kill()
        os.close(theirs)
    assert process.exitcode == 75
    assert run.status()["reason"] == "by SIGHUP"
    assert run.status()["state"] == "interrupted"
    assert checkpoint_step(list_checkpoints(run.checkpoints)[-1]) == run.status()["step"]
