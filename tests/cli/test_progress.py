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
