"""What the verbs of the theory lab share: flags, progress, and what is printed at the end."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text
from tyro.constructors import PrimitiveConstructorSpec

from adana.cli.grid import Grid
from adana.cli.run_folders import check_folder
from adana.cli.terminal import say, unbreakable
from adana.cli.train import CTRL_C
from adana.plrf.experiments.defaults import (
    ALPHA,
    BETA,
    DIMENSION,
    EXPERT_BATCH,
    EXPERT_BETA,
    EXPERT_DIMENSION,
    EXPERTS,
    EXPONENT,
)
from adana.plrf.experiments.result import Progress as Tell
from adana.plrf.experiments.result import Result
from adana.plrf.experiments.writer import write_result
from adana.report import Image
from adana.report.study_tables import Sheet

PRINTED = 8
"""Rows up to which a table is printed; longer ones are on the page."""
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
    """Folder of the page, the pictures and the CSV files. Default: plrf/VERB. Those of an earlier
    run of the same verb are replaced."""
    images: tuple[Image, ...] = ("svg", "png")
    """What every chart is saved as, beside the page: any of svg, pdf, png."""


@dataclass(frozen=True)
class ProblemFlags(OutputFlags):
    """Which problem is studied."""

    alpha: float = ALPHA
    """How fast the features' scales fall: the j-th is j^-alpha. Above 1/2 momentum can help."""
    beta: float = BETA
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = DIMENSION
    """Parameters d; four times as many hidden inputs. Nothing is drawn, so large costs little."""


@dataclass(frozen=True)
class BatchFlags(ProblemFlags):
    """A problem at one batch size."""

    batch: int = 1
    """Samples a step."""


@dataclass(frozen=True)
class MixtureFlags(OutputFlags):
    """Which mixture of experts is trained."""

    alpha: float = ALPHA
    """How fast the features' scales fall: the j-th is j^-alpha."""
    beta: float = EXPERT_BETA
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = EXPERT_DIMENSION
    """Parameters of each expert."""
    experts: int = EXPERTS
    """Experts."""
    exponent: float = EXPONENT
    """Samples go to expert i with a probability like i^-exponent."""
    batch: int = EXPERT_BATCH
    """Samples a step, over all experts."""


def defaults(experiment: Callable[..., Result]) -> SimpleNamespace:
    """Return the defaults of an experiment's arguments by name: those of its flags too."""
    parameters = inspect.signature(experiment).parameters.values()
    return SimpleNamespace(**{parameter.name: parameter.default for parameter in parameters})


def carry_out(
    name: str, experiment: Callable[..., Result], flags: OutputFlags, **arguments: str
) -> int:
    """Run an experiment with a bar, write it and print what it found; return the exit code.

    One that is stopped says what is kept of it: nothing until files are written. Every flag but
    those of the output is an argument of the experiment: of the same name, or as `arguments` say.
    """
    folder = flags.output or Path("plrf") / name
    check_folder("--output", folder)
    console = unbreakable(Console())
    begun = time.monotonic()
    kept = "nothing was written, the same command begins again"
    try:
        with Bar(console, name) as bar:
            result = _computed(experiment, flags, arguments, bar.tell)
            seconds = time.monotonic() - begun
            bar.tell(1.0, "writing the page and the pictures")
            kept = f"{folder} may be incomplete, the same command writes it anew"
            page = write_result(result, folder, flags.images)
        kept = f"{folder} is complete"
        _print_found(console, result)
        say(console, f"page: {page.resolve()} (computed in {seconds:.1f} s)")
        say(console, f"charts and CSV beside it: {folder}")
    except KeyboardInterrupt:
        print(f"adana: interrupted; {kept}", file=sys.stderr)
        return CTRL_C
    return 0


def _print_found(console: Console, result: Result) -> None:
    for sheet in result.tables:
        if len(sheet.rows) <= PRINTED:
            console.print(_grid(sheet).fitting(console))
    for sentence in result.findings:
        console.print(Text(sentence))


def _computed(
    experiment: Callable[..., Result],
    flags: OutputFlags,
    arguments: Mapping[str, str],
    tell: Tell,
) -> Result:
    """Run an experiment; errors are about the flags that were typed."""
    output = {field.name for field in fields(OutputFlags)}
    own = [field.name for field in fields(flags) if field.name not in output]
    names = {flag: arguments.get(flag, flag) for flag in own}
    try:
        return experiment(**{names[flag]: getattr(flags, flag) for flag in own}, progress=tell)
    except ValueError as error:
        said = str(error)
        for flag, argument in names.items():
            if argument != flag or "_" in flag:
                said = said.replace(argument, f"--{flag.replace('_', '-')}")
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
