"""What the verbs of the theory lab share: flags, progress, and what is printed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text
from tyro.constructors import PrimitiveConstructorSpec

from adana.cli.grid import Grid
from adana.cli.progress import say
from adana.cli.settings import check_folder
from adana.plrf.experiments.result import Progress as Tell
from adana.plrf.experiments.result import Result
from adana.plrf.experiments.writer import write_result
from adana.report import Image
from adana.report.study_tables import Sheet

PRINTED = 8
"""Rows up to which a table is printed; longer ones are on the page."""
FLAGS = {
    "total_steps": "--steps",
    "most_compute": "--compute",
    "simulated_steps": "--simulated-steps",
}
"""Arguments of experiments whose flags have other names: errors are about what was typed."""
LULL = 10.0
"""Seconds between two plain lines where there is no terminal."""


def _whole(words: list[str]) -> int:
    number = float(words[0])
    if not number.is_integer():
        raise ValueError(f"{words[0]!r} is no whole number")
    return int(words[0]) if words[0].lstrip("+-").isdecimal() else int(number)


Whole = Annotated[
    int,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=_whole,
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""A whole number that may be typed as 1e9, as the pages write it."""


@dataclass(frozen=True)
class OutputFlags:
    """Where an experiment is written, and as what."""

    output: Path | None = None
    """Folder of the page, the pictures and the CSV files. Default: plrf/VERB."""
    images: tuple[Image, ...] = ("svg", "png")
    """What every chart is saved as, beside the page: any of svg, pdf, png."""


@dataclass(frozen=True)
class ProblemFlags(OutputFlags):
    """Which problem is studied."""

    alpha: float = 1.0
    """How fast the features' scales fall: the j-th is j^-alpha. Above 1/2 momentum can help."""
    beta: float = 0.3
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = 1_000_000
    """Parameters d; four times as many hidden inputs. Nothing is drawn, so large costs little."""


@dataclass(frozen=True)
class BatchFlags(ProblemFlags):
    """A problem at one batch size."""

    batch: int = 1
    """Samples a step."""


def carry_out(name: str, experiment: Callable[[Tell], Result], flags: OutputFlags) -> int:
    """Run an experiment with a bar, write it and print what it found; return the exit code."""
    folder = flags.output or Path("plrf") / name
    check_folder("--output", folder)
    console = Console()
    begun = time.monotonic()
    with Bar(console, name) as bar:
        result = _computed(experiment, bar.tell)
        seconds = time.monotonic() - begun
        bar.tell(1.0, "writing the page and the pictures")
        page = write_result(result, folder, flags.images)
    for sheet in result.tables:
        if len(sheet.rows) <= PRINTED:
            console.print(_grid(sheet).fitting(console))
    for sentence in result.findings:
        console.print(Text(sentence))
    say(console, f"page: {page.resolve()} (computed in {seconds:.1f} s)")
    say(console, f"charts and CSV beside it: {folder}")
    return 0


def _computed(experiment: Callable[[Tell], Result], tell: Tell) -> Result:
    try:
        return experiment(tell)
    except ValueError as error:
        said = str(error)
        for argument, flag in FLAGS.items():
            said = said.replace(argument, flag)
        raise ValueError(said) from error


def _grid(sheet: Sheet) -> Grid:
    grid = Grid(sheet.title, *(column.title for column in sheet.columns))
    for cells in sheet.cells:
        grid.add(*cells)
    return grid


class Bar:
    """How far an experiment is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self._said = time.monotonic()
        self._bar = Progress(
            TextColumn(name),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> Bar:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def tell(self, share: float, what: str) -> None:
        """Show the share that is done and what is being computed."""
        self._bar.update(self._task, completed=share, description=what)
        if not self.console.is_terminal and time.monotonic() - self._said > LULL:
            self._said = time.monotonic()
            say(self.console, f"{self.name}: {share:.0%}, {what}")
