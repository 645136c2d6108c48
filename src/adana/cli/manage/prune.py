"""`adana runs prune`: give disk space back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adana.cli.manage.common import check_runs_folder, table_console
from adana.cli.run_folders import RUNS
from adana.cli.terminal import say
from adana.report import list_runs, select, words

if TYPE_CHECKING:
    from adana.pruning import Removal


@dataclass(frozen=True)
class PruneRuns:
    """Show what could be deleted; delete it with --yes.

    By default: the checkpoints of finished runs except the newest and those of --keep-every, and
    checkpoints that a killed process never completed. Settings, metrics and results stay, so
    reports still work and no run is trained twice; `adana sample`, `export` and `branch` need
    checkpoints. Never touched: runs that are being trained, and directories with a problem.
    """

    runs: Path = RUNS
    """Folder of the run directories."""
    contains: str = ""
    """Only runs with this text in their name, label, optimizer or model."""
    keep: int = 1
    """Newest checkpoints of a finished run that stay; 0 keeps none, not even those of
    --keep-every."""
    failed: bool = False
    """Also delete the directories of runs that failed or diverged, with all they hold. A failed run
    that has checkpoints could go on."""
    empty: bool = False
    """Also delete the directories of runs in which no step was trained."""
    yes: bool = False
    """Delete. Without it nothing is changed."""


def prune_command(arguments: PruneRuns) -> int:
    """Run `adana runs prune`; return the exit code."""
    from adana.pruning import plan  # noqa: PLC0415 - imports torch, which listing does without

    check_runs_folder(arguments.runs)
    listings = select(list_runs(arguments.runs), contains=arguments.contains)
    removals = plan(listings, keep=arguments.keep, failed=arguments.failed, empty=arguments.empty)
    console = table_console()
    held = [listing.name for listing in listings if listing.run.held]
    if held:
        say(console, f"being trained, left alone: {', '.join(held)}")
    if not removals:
        say(console, "nothing to delete")
        return 0
    console.print(_table(removals))
    if not arguments.yes:
        total = words.size(float(sum(removal.bytes for removal in removals)))
        say(console, f"{total} would be freed; nothing was deleted. To delete: --yes")
        return 0
    return _delete(removals, console)


def _delete(removals: Sequence[Removal], console: Console) -> int:
    from adana.pruning import carry_out  # noqa: PLC0415

    freed, left = carry_out(removals)
    for text in left:
        say(console, f"left: {text}")
    say(console, f"freed {words.size(float(freed))}")
    return 1 if left else 0


def _table(removals: Sequence[Removal]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("what")
    table.add_column("why", overflow="fold")
    table.add_column("frees", justify="right")
    for removal in removals:
        table.add_row(
            Text(removal.name), Text(removal.what), Text(removal.why), words.size(removal.bytes)
        )
    return table
