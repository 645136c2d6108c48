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
    state: str = ""
    """How it ended where it has no loss: ``diverged``, ``failed``."""


def read_trials(runs: Iterable[Run]) -> list[Trial]:
    """Read the trials of a sweep: labels in the order of `runs`, rates ascending in each."""
    found = []
    for run in runs:
        optimizer, summary = run.config()["optimizer"], run.summary() or {}
        loss = None if (value := summary.get("val_loss")) is None else float(value)
        state = "" if loss is not None else str(run.status()["state"])
        found.append(Trial(optimizer["label"], float(optimizer["lr"]), loss, False, state))
    labels = list(dict.fromkeys(trial.label for trial in found))
    lowest: dict[str, float] = {}
    for trial in found:
        if trial.loss is not None:
            lowest[trial.label] = min(trial.loss, lowest.get(trial.label, trial.loss))
    trials = [
        trial._replace(best=trial.loss is not None and trial.loss == lowest[trial.label])
        for trial in found
    ]
    return sorted(trials, key=lambda trial: (labels.index(trial.label), trial.lr))


def sweep_edges(trials: Sequence[Trial]) -> dict[str, str]:
    """Return the labels whose best rate is the ``lower`` or ``higher`` end of their sweep.

    A rate whose training failed tells nothing, so it is no end.
    """
    edges = {}
    tried = [trial for trial in trials if trial.state != "failed"]
    for label in dict.fromkeys(trial.label for trial in tried):
        own = [trial for trial in tried if trial.label == label]
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
            f"{trial.state or 'diverged' if trial.loss is None else words.decimal(trial.loss, 4)}"
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
