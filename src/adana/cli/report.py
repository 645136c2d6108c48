"""`adana report`: tables, charts and the HTML page of runs that are already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.cli.run_folders import RUNS, check_folder, runs_below
from adana.cli.terminal import say
from adana.report import (
    Image,
    LeftOut,
    Trial,
    all_charts,
    as_dict,
    compare,
    is_study,
    markdown,
    read_study,
    save_static,
    study_terminal,
    terminal,
    write_report,
    write_search,
    write_study,
)
from adana.runs import Run, write_bytes, write_json
from adana.searches import is_search, read_search


@dataclass(frozen=True)
class ReportArguments:
    """Write the report of finished runs, without training anything.

    Runs of several sizes or of several learning rates are a study: one page with the loss and the
    compute multiplier over compute, learning-rate bowls, costs and budgets. Else they are a
    comparison of optimizers at one size.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (RUNS,)
    """Run directories, or folders that contain some; or folders of searches."""
    like: str | None = None
    """Only runs whose losses can be compared with those of this one (same data, vocabulary,
    evaluation and sequence length): its path, or the beginning of its name."""
    baseline: str = "adamw"
    """The optimizer the others are compared with."""
    output: Path = Path("report")
    """Folder to write report.html (search.html), the tables and the charts to."""
    images: tuple[Image, ...] = ("svg",)
    """What to save every chart as, beside the page: any of svg, pdf, png."""
    command: str | None = None
    """The command that made the runs of a study, for the page to show."""


def report_command(arguments: ReportArguments) -> int:
    """Run `adana report`; return the exit code."""
    check_folder("--output", arguments.output)
    console = Console()
    searches = [folder for folder in arguments.folders if is_search(folder)]
    if searches:
        if arguments.like:
            raise ValueError(f"--like {arguments.like} chooses among runs, and these are searches")
        if len(searches) < len(arguments.folders):
            rest = next(folder for folder in arguments.folders if folder not in searches)
            raise ValueError(
                f"{searches[0]} is a search and {rest} is not: name searches or runs, each has a "
                "page of its own"
            )
        _write_searches(searches, arguments.output, console, arguments.images)
        return 0
    readable = runs_below(arguments.folders, console, arguments.like)
    if is_study(readable):
        write_whole_study(
            *(readable, arguments.baseline, arguments.output, console),
            command=arguments.command,
            images=arguments.images,
        )
        return 0
    write_comparison(
        readable, arguments.baseline, arguments.output, console, images=arguments.images
    )
    return 0


def _write_searches(
    folders: Sequence[Path], output: Path, console: Console, images: Sequence[Image]
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    page = output / "search.html"
    write_search([read_search(folder) for folder in folders], page, images)
    say(console, f"report: {page.resolve()}")
    say(console, f"charts beside it: {output}")


def write_whole_study(
    runs: Sequence[Run],
    baseline: str,
    output: Path,
    console: Console,
    *,
    command: str | None = None,
    images: Sequence[Image] = ("svg",),
) -> None:
    """Print what `runs` of several sizes and rates say, and write it to `output` in every format.

    `command` made the runs; `images` are what charts are saved as.
    """
    study = read_study(runs, baseline)
    page = write_study(study, output, command=command, images=images)
    console.print(study_terminal(study))
    say(console, f"report: {page.resolve()}")
    say(console, f"tables and charts beside it: {output}")


def write_comparison(
    runs: Sequence[Run],
    baseline: str,
    output: Path,
    console: Console,
    *,
    sweep: Sequence[Trial] = (),
    sources: Mapping[str, str] | None = None,
    left_out: Mapping[str, LeftOut] | None = None,
    images: Sequence[Image] = ("svg",),
) -> None:
    """Print the comparison of `runs` and write it to `output` in every format.

    `sweep`, `sources` and `left_out` are what `adana.report.compare` takes; `images` what charts
    are saved as.
    """
    comparison = compare(runs, baseline, sweep, sources, left_out=left_out)
    output.mkdir(parents=True, exist_ok=True)
    page = output / "report.html"
    write_report(comparison, page)
    write_bytes(output / "comparison.md", markdown(comparison).encode())
    write_json(output / "comparison.json", as_dict(comparison))
    for name, chart in all_charts(comparison).items():
        for suffix in images:
            save_static(chart, output / f"{name}.{suffix}")
    console.print(terminal(comparison))
    say(console, f"report: {page.resolve()}")
    say(console, f"tables and charts beside it: {output}")
