<<<<<<< HEAD
"""`adana fit --form chinchilla`: losses over models and tokens, of several optimizers together."""

from __future__ import annotations

import math
from collections.abc import Sequence
=======
"""`adana fit --form chinchilla`: L(N, D) = E + A N^-alpha + B D^-beta, one fit an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
>>>>>>> w-laws2
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

<<<<<<< HEAD
from adana.cli.fit_input import Result, surfaces_of
from adana.cli.fit_output import choices_lines, print_statements
from adana.cli.progress import say
from adana.laws.chinchilla import ChinchillaFit, Surface, fit_chinchilla
from adana.laws.exponent_test import compare_exponents
from adana.runs import RunError, write_json

LETTERS = ("E", "A", "B", "alpha", "beta")


def report_surfaces(
    results: Sequence[Result],
    baseline: str,
    *,
    level: float,
    bootstrap: int,
    seed: int,
    output: Path | None,
) -> int:
    """Fit, print the tables and what they are worth, write the JSON; return the exit code."""
    surfaces, choices = surfaces_of(results)
    names = [surface.name for surface in surfaces]
    if baseline not in names:
        raise RunError(
            f"no run of the baseline {baseline!r}; there are {', '.join(names)}. Name one of them "
            "with --baseline"
        )
    console = Console()
    print_statements(console, choices_lines(choices))
    fit = fit_chinchilla(surfaces, bootstrap=bootstrap, seed=seed)
    console.print(_laws_table(fit, level))
    others = [name for name in names if name != baseline]
    if others:
        console.print(_efficiencies_table(fit, baseline, others, level))
    said = [*fit.statements, *_tested(surfaces, seed)]
    print_statements(console, said)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, _as_json(fit, baseline, others, level=level, statements=said))
        say(console, f"written: {output}")
    return 0


def _tested(surfaces: Sequence[Surface], seed: int) -> list[str]:
    if len(surfaces) < 2:
        return []
    try:
        return [str(compare_exponents(surfaces, seed=seed))]
    except ValueError as error:
        return [f"exponents of their own were not tested: {error}"]


def _laws_table(fit: ChinchillaFit, level: float) -> Table:
    title = f"L = E + A N^-alpha + B D^-beta   [{100 * level:g} % intervals]"
    table = Table("optimizer", *LETTERS, title=title, title_justify="left")
    for name, law in fit.laws.items():
        values, ends = list(vars(law).values()), fit.interval(name, level)
        table.add_row(name, *(_cell(v, *e) for v, e in zip(values, ends, strict=True)))
    return table


def _efficiencies_table(
    fit: ChinchillaFit, baseline: str, others: Sequence[str], level: float
) -> Table:
    title = f"what {baseline} needs for the same term of the loss, over what was used"
    table = Table("optimizer", "rho_N", "rho_D", title=title, title_justify="left")
    for name in others:
        table.add_row(name, *(_cell(*row) for row in fit.efficiencies(baseline, name, level)))
    return table


def _cell(value: float, low: float, high: float) -> str:
    shown = f"{value:.4g}"
    return shown if math.isnan(low) else f"{shown} [{low:.4g}, {high:.4g}]"


def _as_json(
    fit: ChinchillaFit,
    baseline: str,
    others: Sequence[str],
    *,
    level: float,
    statements: Sequence[str],
) -> dict[str, Any]:
    laws = {
        name: {
            letter: {"value": value, "low": float(low), "high": float(high)}
            for letter, value, (low, high) in zip(
                LETTERS, vars(law).values(), fit.interval(name, level), strict=True
            )
        }
        for name, law in fit.laws.items()
    }
    factors = {}
    for name in others:
        rows = fit.efficiencies(baseline, name, level)
        factors[name] = {
            key: dict(zip(("value", "low", "high"), map(float, row), strict=True))
            for key, row in zip(("rho_N", "rho_D"), rows, strict=True)
        }
    return {
        "form": "chinchilla",
        "exponents": fit.exponents,
        "level": level,
        "baseline": baseline,
        "rms": fit.rms,
        "laws": laws,
        "efficiencies": factors,
        "statements": list(statements),
    }
=======
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
>>>>>>> w-laws2
