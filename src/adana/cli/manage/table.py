"""`adana runs list`: one line a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adana.cli.manage.common import ago, check_runs_folder, print_json, table_console
from adana.cli.run_folders import RUNS
from adana.cli.terminal import say
from adana.report import Listing, list_runs, select, words

States = Literal[
    "new", "running", "stopped", "interrupted", "finished", "diverged", "failed", "broken"
]

NAME_WIDTH = 40
"""Columns that a name gets at most before it is folded."""


@dataclass(frozen=True)
class ListRuns:
    """List the run directories below --runs.

    State: running; stopped (it says running, but no process trains there: it was killed, and goes
    on with the command it was started with); interrupted; finished; diverged; failed; new (nothing
    trained yet); broken (its status cannot be read). A directory of another version of adana, or
    with a broken file, is listed with what is wrong.
    """

    runs: Path = RUNS
    """Folder of the run directories."""
    state: tuple[States, ...] = ()
    """Only runs in one of these states."""
    contains: Annotated[str, tyro.conf.arg(aliases=["-c"])] = ""
    """Only runs with this text in their name, label, optimizer or model."""
    sort: Literal["name", "state", "optimizer", "steps", "loss", "tokens", "updated", "bytes"] = (
        "name"
    )
    """Order: losses from the best, sizes and times from the largest and latest."""
    limit: int | None = None
    """At most this many."""
    json: bool = False
    """Print JSON for programs."""


class _Column(NamedTuple):
    title: str
    cell: Callable[[Listing], str]
    least: int = 0
    """Columns of a terminal below which it is left out."""
    number: bool = True


def _optimizer(run: Listing) -> str:
    return run.optimizer if run.label == run.optimizer else f"{run.label} ({run.optimizer})"


COLUMNS = (
    _Column("name", lambda run: run.name, number=False),
    _Column("state", lambda run: run.state, number=False),
    _Column("optimizer", _optimizer, least=110, number=False),
    _Column("model", lambda run: run.model, least=110, number=False),
    _Column("steps", lambda run: f"{run.step:,}/{words.grouped(run.steps)}"),
    _Column("val loss", lambda run: words.decimal(run.loss, 4)),
    _Column("tokens", lambda run: words.short_count(run.tokens), least=130),
    _Column("age", lambda run: ago(run.updated)),
    _Column("disk", lambda run: words.size(run.bytes), least=90),
    _Column("saved", lambda run: str(run.checkpoints), least=130),
)


def list_command(arguments: ListRuns) -> int:
    """Run `adana runs list`; return the exit code."""
    check_runs_folder(arguments.runs)
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {arguments.limit}")
    everything = list_runs(arguments.runs)
    found = select(
        everything, state=arguments.state, contains=arguments.contains, sort=arguments.sort
    )[: arguments.limit]
    if arguments.json:
        print_json([listing.as_dict() for listing in found])
        return 0
    console = table_console()
    console.print(runs_table(found, console))
    say(console, _total(found, everything))
    for text in _problems(found):
        say(console, text)
    return 0


def runs_table(listings: Sequence[Listing], console: Console) -> Table:
    """Return the list as a table that fits the console."""
    columns = [column for column in COLUMNS if console.width >= column.least]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        is_name = column.title == "name"
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=not is_name,
            overflow="fold",
            max_width=NAME_WIDTH if is_name and console.is_terminal else None,
        )
    for listing in listings:
        table.add_row(*(Text(column.cell(listing)) for column in columns))
    return table


def _problems(listings: Sequence[Listing]) -> list[str]:
    """Return what is wrong, once for all runs that share it."""
    by_problem: dict[str, list[str]] = {}
    for listing in listings:
        if listing.problem:
            by_problem.setdefault(listing.problem, []).append(listing.name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {problem}"
        for problem, names in by_problem.items()
    ]


def _total(found: Sequence[Listing], everything: Sequence[Listing]) -> str:
    size = words.size(float(sum(listing.bytes for listing in found)))
    of = f" of {len(everything)}" if len(found) < len(everything) else ""
    runs = "run" if len(everything) == 1 else "runs"
    return f"{len(found)}{of} {runs}, {size}" if everything else "no run directories there yet"
