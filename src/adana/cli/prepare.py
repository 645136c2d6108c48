"""Preparing the tokens with a progress bar, as every verb that needs them does."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from adana.cli.terminal import say, unbreakable
from adana.data import DataConfig, Shards, open_shards, prepare

if TYPE_CHECKING:
    from adana.train import World

LINE_SECONDS = 20.0
"""Seconds between two plain lines of one stage."""

_WORTH_A_LINE = ("damaged", "waiting", "going on", "prepared before")


def prepare_with_bar(config: DataConfig, console: Console, *, verify: bool = False) -> Shards:
    """Return the tokens of `config`, telling the console how far it is and how long it takes."""
    try:
        with _telling(console) as tell:
            shards = prepare(config, on_progress=tell, verify=verify)
    except KeyboardInterrupt:
        say(console, "data: interrupted; what is done is kept, the same command goes on from there")
        raise
    splits = shards.manifest["splits"]
    say(
        console,
        f"data: {config.corpus}, {splits['train']['tokens']:,} training and "
        f"{splits['validation']['tokens']:,} validation tokens, in {shards.folder}",
    )
    return shards


def prepare_on_ranks(config: DataConfig, console: Console, world: World) -> Shards:
    """Return the tokens of `config` on every rank, prepared by the first."""

    def prepared() -> tuple[Path, dict[str, Any]]:
        shards = prepare_with_bar(config, console)
        return shards.folder, shards.manifest["corpus"]

    folder, corpus = world.decide(prepared)
    shards = world.together(lambda: open_shards(folder))
    return dataclasses.replace(shards, manifest={**shards.manifest, "corpus": corpus})


def open_with_bar(folder: Path, console: Console) -> Shards:
    """Open shards after reading every byte, telling the console how far it is."""
    with _telling(console) as tell:
        return open_shards(folder, verify=True, on_progress=tell)


@contextlib.contextmanager
def _telling(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Give a function that shows a stage and the fraction done, as a bar or as lines.

    Where the console cannot be written any more, nothing is shown and nothing raised.
    """
    console = unbreakable(console)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("data: {task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading the corpus", total=1.0)

        def show(stage: str, fraction: float) -> None:
            bar.update(task, description=stage, completed=fraction)
            if any(word in stage for word in _WORTH_A_LINE):  # a bar would be overwritten at once
                say(console, f"data: {stage}")

        yield show


class _Lines:
    """Says each stage when it begins, and again now and then while it goes on."""

    def __init__(self, console: Console) -> None:
        self._console, self._stage, self._due = console, "", 0.0

    def __call__(self, line: str, fraction: float) -> None:
        stage, now = line.partition(":")[0], time.monotonic()
        if stage != self._stage or now > self._due:
            self._stage, self._due = stage, now + LINE_SECONDS
            say(self._console, f"data: {line}")
