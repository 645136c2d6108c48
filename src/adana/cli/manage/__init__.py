"""`adana runs`: list, inspect, compare, watch, mirror and prune run directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from adana.cli.manage.compare import CompareRuns, compare_runs_command
from adana.cli.manage.mirror import MirrorRun, mirror_command
from adana.cli.manage.prune import PruneRuns, prune_command
from adana.cli.manage.show import ShowRun, show_command
from adana.cli.manage.table import ListRuns, list_command
from adana.cli.manage.watch import WatchRun, watch_command

Action = (
    Annotated[ListRuns, tyro.conf.subcommand("list")]
    | Annotated[ShowRun, tyro.conf.subcommand("show")]
    | Annotated[CompareRuns, tyro.conf.subcommand("compare")]
    | Annotated[WatchRun, tyro.conf.subcommand("watch")]
    | Annotated[MirrorRun, tyro.conf.subcommand("mirror")]
    | Annotated[PruneRuns, tyro.conf.subcommand("prune")]
)

_ACTIONS: dict[type, Callable[[Any], int]] = {
    ListRuns: list_command,
    ShowRun: show_command,
    CompareRuns: compare_runs_command,
    WatchRun: watch_command,
    MirrorRun: mirror_command,
    PruneRuns: prune_command,
}


@dataclass(frozen=True)
class RunsArguments:
    """List, inspect, compare, watch, mirror and prune run directories.

    What can be asked:
        adana runs                           list them; flags as of `adana runs list`
        adana runs show adana-T1200-s0       one run in full
        adana runs compare adamw adana       settings side by side, losses, curves
        adana runs watch adana-T1200-s0      follow one that is being trained
        adana runs mirror NAME --to wandb    fill a tracker from the record
        adana runs prune                     what could go; --yes lets it go

    A name is the beginning of a directory's name below --runs (default: runs), the beginning of
    the identity it ends with, or a path.
    """

    action: Action
    """What to do. Default: list."""


def runs_command(arguments: RunsArguments) -> int:
    """Run `adana runs`; return the exit code."""
    return _ACTIONS[type(arguments.action)](arguments.action)
