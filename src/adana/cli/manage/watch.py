"""`adana runs watch`: look at a run while somebody else trains it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console, RenderableType
from rich.console import Group as Renderables
from rich.live import Live
from rich.progress import ProgressBar
from rich.table import Table
from rich.text import Text

from adana.cli.manage.common import duration
from adana.cli.run_folders import RUNS
from adana.cli.terminal import say
from adana.report import Follower, find_run, read_listing, sparkline, words
from adana.runs import Run

SPARKS = 50
"""Columns of a curve."""


@dataclass(frozen=True)
class WatchRun:
    """Follow a run: losses, speed, time left. Ctrl-C ends the view, never the run.

    Reads the files of the run directory only, so it works from another terminal, or another machine
    that shares the disk. Ends by itself when nobody trains the run any more.
    """

    name: Annotated[str, tyro.conf.Positional]
    """Beginning of its name below --runs, or of its identity; or a path."""
    runs: Path = RUNS
    """Folder of the run directories."""
    every: float = 1.0
    """Seconds between two looks."""
    once: bool = False
    """Show the present state and end."""


def watch_command(arguments: WatchRun) -> int:
    """Run `adana runs watch`; return the exit code."""
    if not arguments.every > 0:
        raise ValueError(f"--every must be above 0 seconds, got {arguments.every}")
    run = find_run(arguments.runs, arguments.name)
    follower = Follower(run, int(run.config()["steps"]))
    console = Console()
    try:
        if arguments.once or not run.held:
            follower.read()
            console.print(view(follower))
        elif console.is_terminal:
            _watch_live(follower, console, arguments.every)
        else:
            _watch_lines(follower, console, arguments.every)
    except KeyboardInterrupt:
        say(console, "the view ends here; the run goes on")
    return 0


def _watch_live(follower: Follower, console: Console, every: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        going = True
        while going:
            going = follower.run.held
            follower.read()
            live.update(view(follower), refresh=True)
            if going:
                time.sleep(every)


def _watch_lines(follower: Follower, console: Console, every: float) -> None:
    """Print a line for each evaluation, as suits a log."""
    going = True
    while going:
        going = follower.run.held
        for row in follower.read():
            if "val_loss" in row:
                say(console, _line(follower, row))
        if going:
            time.sleep(every)
    say(console, _state(follower.run))


def view(follower: Follower) -> RenderableType:
    """Return the state of a run as a few lines for a terminal."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    losses = [loss for _, loss in follower.training]
    evaluations = [loss for _, loss in follower.evaluations]
    final = words.decimal(evaluations[-1], 4) if evaluations else words.NONE
    rate = words.grouped(follower.tokens_per_second)
    rows = {
        "state": _state(follower.run),
        "step": f"{follower.step:,} of {follower.steps:,}",
        "loss": f"{words.decimal(follower.smooth_loss, 4)}  {sparkline(losses, SPARKS)}",
        "val loss": f"{final}  {sparkline(evaluations, SPARKS)}",
        "speed": f"{rate} tokens/s",
        "left": _left(follower),
    }
    for name, text in rows.items():
        grid.add_row(name, Text(text))
    bar = ProgressBar(total=follower.steps, completed=follower.step, width=SPARKS + 20)
    return Renderables(Text(follower.run.name, style="bold"), grid, bar, Text())


def _line(follower: Follower, row: Mapping[str, Any]) -> str:
    return (
        f"step {row['step']}/{follower.steps}, loss {words.decimal(follower.smooth_loss, 4)}, "
        f"val {row['val_loss']:.4f}, {words.grouped(follower.tokens_per_second)} tokens/s, "
        f"left {_left(follower)}"
    )


def _left(follower: Follower) -> str:
    if follower.step >= follower.steps:
        return "nothing"
    seconds = follower.seconds_left
    return "unknown" if seconds is None else duration(seconds)


def _state(run: Run) -> str:
    listing = read_listing(run, run.path.parent)
    return f"{listing.state}{f' ({listing.reason})' if listing.reason else ''}"
