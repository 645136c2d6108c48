"""The learning-rate sweep behind a comparison: every trial, also those that lost or diverged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from adana.report import words
from adana.runs import Run


class Trial(NamedTuple):
    """One training of a sweep."""

    label: str
    lr: float
    """Peak learning rate."""
    loss: float | None
    """Final validation loss (nats a token); None if it diverged or failed."""
    best: bool
    """Whether its loss is the lowest of its label."""


def read_trials(runs: Iterable[Run]) -> list[Trial]:
    """Read the trials of a sweep: labels in the order of `runs`, rates ascending in each."""
    found = []
    for run in runs:
        optimizer, summary = run.config()["optimizer"], run.summary()
        loss = None if summary is None else float(summary["val_loss"])
        found.append((optimizer["label"], float(optimizer["lr"]), loss))
    labels = list(dict.fromkeys(label for label, _, _ in found))
    lowest: dict[str, float] = {}
    for label, _, loss in found:
        if loss is not None:
            lowest[label] = min(loss, lowest.get(label, loss))
    trials = [
        Trial(label, lr, loss, loss is not None and loss == lowest[label])
        for label, lr, loss in found
    ]
    return sorted(trials, key=lambda trial: (labels.index(trial.label), trial.lr))


def sweep_edges(trials: Sequence[Trial]) -> dict[str, str]:
    """Return the labels whose best rate is the ``lower`` or ``higher`` end of their sweep."""
    edges = {}
    for label in dict.fromkeys(trial.label for trial in trials):
        own = [trial for trial in trials if trial.label == label]
        if own[0].best:
            edges[label] = "lower"
        elif own[-1].best:
            edges[label] = "higher"
    return edges


def sweep_rows(trials: Iterable[Trial]) -> list[tuple[str, str, str]]:
    """Return (label, rate, loss) as text, the best of each label marked."""
    return [
        (
            trial.label,
            words.short(trial.lr),
            f"{words.decimal(trial.loss, 4) if trial.loss is not None else 'diverged'}"
            f"{' (best)' if trial.best else ''}",
        )
        for trial in trials
    ]


def sweep_table(trials: Sequence[Trial]) -> Table:
    """Lay the trials out for a `rich` console."""
    table = Table(title=Text("Learning-rate sweep"), title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("optimizer", "peak lr", "final val loss"):
        table.add_column(title, justify="left" if title == "optimizer" else "right")
    previous = None
    for row in sweep_rows(trials):
        if previous not in (None, row[0]):
            table.add_section()
        table.add_row(*map(Text, row))
        previous = row[0]
    return table
