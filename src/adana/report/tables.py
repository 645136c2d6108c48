"""A comparison as tables: for the terminal, for a README, for a program.

The columns are defined once, as text; each output only lays them out. Results and cost are two
tables, so that each fits a terminal of 80 columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group as Renderables
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from adana.laws import Multiplier
from adana.report import words
from adana.report.compare import Comparison, Estimate, Row
from adana.report.records import Record
from adana.report.sweep import sweep_edges, sweep_rows

UNBROKEN = len("1.24 (1.21 to 1.26)")
"""Longest number that no narrow terminal breaks: what is longer has words in it."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, a sentence that explains it, and the text of a row's cell."""

    title: str
    help: str
    cell: Callable[[Any], str]
    number: bool = True


def _loss(row: Row) -> str:
    """The loss, or how the runs ended where none gives one."""
    if row.loss is not None:
        return words.estimate(row.loss)
    return row.ended or "; ".join(dict.fromkeys(words.outcome(record) for record in row.failures))


def _seeds(row: Row) -> str:
    planned = row.seeds + len(row.failures)
    return str(row.seeds) if not row.failures else f"{row.seeds} of {planned}"


def _reach(row: Row) -> str:
    if row.share_to_baseline is None and row.reached:
        return f"{row.reached} of {row.seeds} seeds"
    never = row.share_to_baseline is None and row.loss is not None
    return "never" if never else words.percent(row.share_to_baseline)


RESULTS = (
    Column("optimizer", "label in the configuration", lambda row: row.label, number=False),
    Column("lr", "peak learning rate", lambda row: words.short(row.learning_rate)),
    Column("seeds", "finished runs", _seeds),
    Column(
        "val loss",
        "final validation loss, nats a token; ± is the standard error over seeds",
        _loss,
    ),
    Column(
        "vs baseline",
        "loss minus the baseline's, paired by seed; negative is better",
        lambda row: words.estimate(row.difference, sign=True),
    ),
    Column(
        "compute M",
        "compute the baseline needs for the same loss, divided by the compute used; above 1 is "
        "better; in brackets the interval for seed noise",
        lambda row: words.multiplier(row.multiplier),
    ),
)

COST = (
    Column("optimizer", "label in the configuration", lambda row: row.label, number=False),
    Column("ppl", "perplexity", lambda row: words.decimal(row.perplexity, 2)),
    Column("bits/byte", "bits a byte of text", lambda row: words.decimal(row.bits_per_byte, 3)),
    Column(
        "reach",
        "share of the baseline's tokens after which its final loss was first reached; a "
        "mid-schedule diagnostic, not a saving",
        _reach,
    ),
    Column("tok/s", "tokens a second, median", lambda row: words.grouped(row.tokens_per_second)),
    Column(
        "ms/step",
        "time of the optimizer's step, median",
        lambda row: words.decimal(row.optimizer_ms, 2),
    ),
    Column("state", "memory of the optimizer's state", lambda row: words.size(row.state_bytes)),
    Column(
        "peak",
        "peak memory: of the device on a GPU; on the CPU of the whole process, uncertain by about "
        "100 MB",
        lambda row: words.size(row.peak_memory_bytes),
    ),
)


def notes(comparison: Comparison) -> list[str]:
    """Return what the tables need said under them: noise, open intervals, runs that failed."""
    found = [_sampling(comparison.rows)]
    found += [
        f"{row.label} first reached the final loss of {comparison.baseline} after "
        f"{words.grouped(row.tokens_to_baseline)} tokens."
        for row in comparison.rows[1:]
        if row.tokens_to_baseline is not None
    ]
    if comparison.sweep:
        found.append(
            "The learning rates were chosen by the sweep with the first seed, which counts among "
            "the seeds: a little in favour of every optimizer alike."
        )
    found += [
        f"The best rate of {label} is at the edge of the sweep: a {side} one may be better."
        for label, side in sweep_edges(comparison.sweep).items()
    ]
    found += _failed_trials(comparison)
    found += [
        f"M of {row.label}: {row.multiplier.note}."
        for row in comparison.rows
        if row.multiplier and row.multiplier.note
    ]
    found += comparison.remarks
    found += [f"Left out: {name} {why.reason}." for name, why in comparison.left_out.items()]
    found += [f"Not finished: {words.failure(record)}." for record in comparison.failures]
    return [text for text in found if text]


def _failed_trials(comparison: Comparison) -> list[str]:
    """Name those that chose their rate among fewer than were planned."""
    found = []
    for label in comparison.labels:
        lost = [t for t in comparison.sweep if t.label == label and t.state == "failed"]
        if lost:
            rates = ", ".join(words.short(trial.lr) for trial in lost)
            found.append(
                f"In the sweep of {label}, trainings failed ({rates}): its rate was chosen among "
                "fewer than were planned."
            )
    return found


def _sampling(rows: Sequence[Row]) -> str:
    """Say how far other validation documents would move each optimizer's loss; empty if unknown.

    Never one number for all where they differ: a bad optimizer's loss may be far more uncertain.
    """
    known = {row.label: row.sampling_error for row in rows if row.sampling_error is not None}
    if not known:
        return ""
    (first, own), *others = ((label, f"{error:.2g}") for label, error in known.items())
    if all(error == own for _, error in others):
        moved = f"every loss by about {own}"
    elif len(others) == 1:
        moved = f"the loss of {first} by about {own} and that of {others[0][0]} by {others[0][1]}"
    else:
        rest = {label: known[label] for label, _ in others}
        low, high = min(rest, key=rest.__getitem__), max(rest, key=rest.__getitem__)
        moved = (
            f"the loss of {first} by about {own}, those of the others by {rest[low]:.2g} ({low}) "
            f"to {rest[high]:.2g} ({high})"
        )
    return (
        f"The validation set is a sample of documents: others would move {moved} (one standard "
        "error), and more where they are pieces of few long files; all runs see the same ones."
    )


def title(comparison: Comparison) -> str:
    """Return a heading that says what was compared with what."""
    candidates = ", ".join(comparison.labels[1:]) or "nothing yet"
    return f"{candidates} against {comparison.baseline}, {comparison.steps:,} steps"


def terminal(comparison: Comparison) -> RenderableType:
    """Return both tables, the verdict and the notes for a `rich` console."""
    return Renderables(
        rich_table(f"Results: {title(comparison)}", RESULTS, comparison.all_rows),
        *(Text(sentence) for sentence in words.verdict(comparison)),
        Text(),
        rich_table("Cost and diagnostics", COST, comparison.rows),
        *(Text(note, style="dim") for note in notes(comparison)),
    )


def rich_table(heading: str, columns: Sequence[Column], rows: Sequence[Any]) -> Table:
    """Lay rows out for a `rich` console."""
    table = Table(
        title=Text(heading), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in columns:
        longest = max((len(column.cell(row)) for row in rows), default=0)
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=column.number and longest <= UNBROKEN,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in columns))
    return table


def markdown(comparison: Comparison) -> str:
    """Return both tables, the verdict and the notes as Markdown."""
    parts = [
        _markdown(RESULTS, comparison.all_rows),
        " ".join(map(_escape, words.verdict(comparison))),
        _markdown(COST, comparison.rows),
        _markdown_sweep(comparison),
        "\n".join(f"- {_escape(note)}" for note in notes(comparison)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    lines = [[column.title for column in columns]]
    lines.append(["---:" if column.number else "---" for column in columns])
    lines += [[_escape(column.cell(row)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_sweep(comparison: Comparison) -> str:
    if not comparison.sweep:
        return ""
    lines = [("optimizer", "peak lr", "final val loss"), ("---", "---:", "---:")]
    lines += [tuple(map(_escape, row)) for row in sweep_rows(comparison.sweep)]  # type: ignore[misc]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Keep a label from breaking out of its cell or turning into HTML."""
    for character in "\\|*_`[]":
        text = text.replace(character, "\\" + character)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain data, for ``comparison.json``; curves stay in the runs."""
    return {
        "baseline": comparison.baseline,
        "steps": comparison.steps,
        "verdict": list(words.verdict(comparison)),
        "sources": dict(comparison.sources),
        "rows": [_row_dict(row) for row in comparison.all_rows],
        "remarks": list(comparison.remarks),
        "left_out": {name: why._asdict() for name, why in comparison.left_out.items()},
        "sweep": [trial._asdict() for trial in comparison.sweep],
        "runs": [_run_dict(record) for record in comparison.records],
    }


def _row_dict(row: Row) -> dict[str, Any]:
    values = {
        field.name: getattr(row, field.name)
        for field in dataclasses.fields(row)
        if field.name != "failures"
    }
    plain = {
        key: dataclasses.asdict(value) if isinstance(value, Estimate | Multiplier) else value
        for key, value in values.items()
    }
    return plain | {"failures": [record.name for record in row.failures]}


def _run_dict(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "identity": record.identity,
        "label": record.label,
        "seed": record.seed,
        "steps": record.steps,
        "state": record.state,
        "reason": record.reason,
        "last_step": record.last_step,
        "summary": dict(record.summary),
    }
