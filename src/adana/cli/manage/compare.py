"""`adana runs compare`: settings side by side, final losses and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich import box
from rich.table import Table
from rich.text import Text

from adana.cli.manage.common import print_json, table_console
from adana.cli.run_folders import RUNS
from adana.cli.terminal import say
from adana.report import (
    compare,
    differences,
    find_run,
    line_chart,
    read_record,
    words,
    write_report,
)
from adana.report.records import Record


@dataclass(frozen=True)
class CompareRuns:
    """Put two or more runs side by side: the settings in which they differ, losses and curves.

    For a judgement over seeds, with intervals and charts, pass --html, or use the verbs `report`
    and `compare`.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Beginnings of names below --runs, or of identities; or paths."""
    runs: Path = RUNS
    """Folder of the run directories."""
    training: bool = False
    """Draw the training losses instead of the validation losses."""
    html: Path | None = None
    """Also write the report of these runs to this file, the first run's optimizer as baseline."""
    json: bool = False
    """Print JSON for programs."""


def compare_runs_command(arguments: CompareRuns) -> int:
    """Run `adana runs compare`; return the exit code."""
    if len(arguments.names) < 2:
        raise ValueError("name two or more runs, say: adana runs compare adamw adana")
    runs = [find_run(arguments.runs, name) for name in arguments.names]
    records = [read_record(run) for run in runs]
    different = differences([record.config for record in records])
    page = arguments.html
    if page:  # before anything is printed, which may fail
        page.parent.mkdir(parents=True, exist_ok=True)
        write_report(compare(runs, records[0].label), page)
    if arguments.json:
        print_json({"runs": [_plain(record) for record in records], "differences": different})
    else:
        console = table_console()
        console.print(_table(records, different))
        curves = {record.name: _curve(record, arguments.training) for record in records}
        say(console, f"{'training' if arguments.training else 'validation'} loss")
        say(console, line_chart(curves) or "no losses yet")
        if page:
            say(console, f"report: {page.resolve()}")
    return 0


def _table(records: Sequence[Record], different: dict[str, list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for record in records:
        table.add_column(record.name, overflow="fold")
    rows = {
        "state": [record.state for record in records],
        "steps": [f"{record.last_step:,}/{record.steps:,}" for record in records],
        "val loss": [words.decimal(_last_loss(record), 4) for record in records],
        **different,
    }
    for key, values in rows.items():
        table.add_row(Text(key), *(Text(value) for value in values))
    return table


def _last_loss(record: Record) -> float | None:
    """Return the newest validation loss, the final one of a finished run."""
    if record.finished:
        return record.loss
    return record.evaluations[-1].loss if record.evaluations else None


def _curve(record: Record, training: bool) -> list[tuple[float, float]]:
    points = record.training if training else record.evaluations
    return [(point.step, point.loss) for point in points]


def _plain(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "identity": record.identity,
        "label": record.label,
        "state": record.state,
        "step": record.last_step,
        "steps": record.steps,
        "val_loss": _last_loss(record),
        "evaluations": [point._asdict() for point in record.evaluations],
    }
