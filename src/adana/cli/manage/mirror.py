"""`adana runs mirror`: fill a tracker from the record of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.cli.run_folders import RUNS
from adana.cli.terminal import say
from adana.report import find_run
from adana.trackers import TRACKERS, open_trackers, replay


@dataclass(frozen=True)
class MirrorRun:
    """Pass the metrics of a run that is not being trained on to trackers.

    TensorBoard's files (RUN/tensorboard) are written anew; W&B and trackio get the rows that they
    lack. W&B works without an account: WANDB_MODE=offline, and `wandb sync` whenever you like.
    """

    name: Annotated[str, tyro.conf.Positional]
    """Beginning of its name below --runs, or of its identity; or a path."""
    to: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Some of {', '.join(TRACKERS)}.")]
    runs: Path = RUNS
    """Folder of the run directories."""


def mirror_command(arguments: MirrorRun) -> int:
    """Run `adana runs mirror`; return the exit code."""
    console = Console()
    run = find_run(arguments.runs, arguments.name)
    trackers = open_trackers(arguments.to)
    done = replay(run, trackers, lambda message: say(console, message))
    for name in done:
        say(console, f"{name} has all metrics of {run.name}")
    return 0 if len(done) == len(trackers) else 1
