"""What is shown while trainings run."""

import io

import pytest
from rich.console import Console

from adana.cli.progress import Display
from adana.train import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still: seconds, to be set."""
    now = {"seconds": 100.0}
    monkeypatch.setattr("adana.cli.progress.time.monotonic", lambda: now["seconds"])
    return now


def test_the_time_left_counts_a_step_by_what_it_costs(clock):
    out = io.StringIO()
    costs = {"small": 1.0, "large": 9.0}
    with Display(Console(file=out, width=200), 1000.0, jobs=2, costs=costs) as display:
        display.update("small", Progress(0, 100))
        clock["seconds"] += 50.0
        display.update("small", Progress(100, 100, loss=3.0))
        display.update("large", Progress(0, 100))
        clock["seconds"] += 450.0
        display.update("large", Progress(100, 100, loss=2.0))
    # 900 units of work are left after 100 in 50 s, none in the end
    first, last = out.getvalue().splitlines()
    assert first == "small: step 100/100, loss 3.000, ETA 0:07:30"
    assert last.endswith("ETA 0:00:00")


def test_steps_of_an_earlier_session_are_no_speed_of_this_one(clock):
    out = io.StringIO()
    with Display(Console(file=out, width=200), 100, jobs=1) as display:
        display.update("run", Progress(60, 100))
        clock["seconds"] += 10.0
        display.update("run", Progress(80, 100, loss=3.0))
    assert out.getvalue().rstrip().endswith("ETA 0:00:10")


def test_a_terminal_shows_a_bar_for_each_run_and_one_for_all(clock):
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with Display(console, 200, jobs=2) as display:
        display.update("first", Progress(50, 100, loss=3.25, val_loss=3.5, tokens_per_second=2e4))
        display.update("second", Progress(10, 100, message="a word"))
        display._bars.refresh()
        during = out.getvalue()
        display.finish("first", "finished")
    assert "all 2 runs" in during
    assert "50%" in during
    assert "loss 3.250 val 3.500 20k tok/s" in during
    assert "second: a word" in out.getvalue()
    assert "first: finished" in out.getvalue()


def test_a_validation_loss_of_an_earlier_step_says_of_which(clock):
    out = io.StringIO()
    with Display(Console(file=out, width=200), 100, jobs=1) as display:
        display.update("run", Progress(72, 100, val_loss=5.303))
        display.update("run", Progress(90, 100, loss=5.155))
        display.update("run", Progress(90, 100, val_loss=5.2))
        display.update("run", Progress(100, 100, loss=5.1))
    first, last = out.getvalue().splitlines()
    assert "step 90/100, loss 5.155 val 5.303 @72, ETA" in first
    assert "step 100/100, loss 5.100 val 5.200 @90, ETA" in last


def test_a_warning_that_several_runs_give_is_shown_once(clock, monkeypatch):
    monkeypatch.setattr("adana.cli.progress._told", set())
    out = io.StringIO()
    with Display(Console(file=out, width=200), 200, jobs=2) as display:
        for name in ("first", "second"):
            display.update(name, Progress(0, 100, message="warning: decay is strong"))
            display.update(name, Progress(0, 100, message="going on from step 3"))
    assert out.getvalue().splitlines() == [
        "first: warning: decay is strong",
        "first: going on from step 3",
        "second: going on from step 3",
    ]


def test_a_narrow_terminal_leaves_the_validation_loss_out(clock):
    out = io.StringIO()
    with Display(Console(file=out, width=80, force_terminal=True), 100, jobs=1) as display:
        display.update("run", Progress(50, 100, loss=3.25, val_loss=3.5))
        display._bars.refresh()
    assert "loss 3.250" in out.getvalue()
    assert "val" not in out.getvalue()


def test_of_many_runs_one_tells_how_far_it_is_each_minute(clock, monkeypatch):
    monkeypatch.setattr("adana.cli.progress.MANY", 1)
    out = io.StringIO()
    with Display(Console(file=out, width=200), 300, jobs=3) as display:
        for step in (10, 20, 30):
            display.update("run", Progress(step, 100, loss=3.0))
        assert out.getvalue() == ""
        clock["seconds"] += 61.0
        display.update("run", Progress(40, 100, loss=3.0))
        display.finish("run", "finished")
    assert out.getvalue().startswith("run: step 40/100")
    assert "[1/3] run: finished" in out.getvalue()
