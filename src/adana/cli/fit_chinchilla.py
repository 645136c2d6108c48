"""`adana fit --form chinchilla`: L(N, D) = E + A N^-alpha + B D^-beta, one fit an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adana.cli.fit_input import Result, best_results
from adana.cli.fit_output import choices_lines, print_statements, with_interval
from adana.cli.progress import say
from adana.laws.chinchilla import NAMES, fit_chinchilla
from adana.runs import write_json


def show_chinchilla(
    results: Sequence[Result],
    console: Console,
    *,
    bootstrap: int,
    level: float,
    seed: int,
    output: Path | None,
) -> None:
    """Fit every optimizer's runs on their own, print the table, and write `output` if there is one.

    N is the number of non-embedding parameters where the runs come from run directories.
    """
    found, choices = best_results(results)
    print_statements(console, choices_lines(choices))
    table = Table(title="L = E + A N^-alpha + B D^-beta", title_justify="left")
    for column in ("optimizer", "runs", *NAMES):
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    said, written = [], {}
    for name, runs in found.items():
        fit = fit_chinchilla(
            [run.parameters for run in runs],
            [run.tokens for run in runs],
            [run.loss for run in runs],
            bootstrap=bootstrap,
            seed=seed,
        )
        ends = fit.interval(level)
        values = [getattr(fit.law, letter) for letter in NAMES]
        cells = [with_interval(v, *e) for v, e in zip(values, ends, strict=True)]
        table.add_row(name, str(len(runs)), *cells)
        said += [f"{name}: {text}" for text in fit.statements]
        entry: dict[str, Any] = {"law": asdict(fit.law), "rms": fit.rms, "runs": len(runs)}
        written[name] = entry | {"interval": ends.tolist(), "statements": list(fit.statements)}
    console.print(table)
    print_statements(console, said)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, {"form": "chinchilla", "level": level, "fits": written})
        say(console, f"written: {output}")
