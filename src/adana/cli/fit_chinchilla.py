"""`adana fit --form chinchilla`: losses over models and tokens, of several optimizers together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from adana.cli.fit_input import Input, Result
from adana.cli.fit_output import choices_lines, print_statements, with_interval
from adana.cli.terminal import say
from adana.laws.chinchilla import ChinchillaFit, Surface, fit_chinchilla
from adana.laws.exponent_test import compare_exponents
from adana.runs import RunError, write_json

LETTERS = ("E", "A", "B", "alpha", "beta")


def report_surfaces(
    read: Input,
    baseline: str,
    *,
    level: float,
    bootstrap: int,
    seed: int,
    output: Path | None,
) -> int:
    """Fit, print the tables and what they are worth, write the JSON; return the exit code."""
    found: dict[str, list[Result]] = {}
    for result in read.results:
        found.setdefault(result.optimizer, []).append(result)
    surfaces = [_surface(name, runs) for name, runs in found.items()]
    names = list(found)
    console = Console()
    print_statements(console, [*choices_lines(read.choices), *read.left_out])
    if baseline not in names and len(names) > 1:
        raise RunError(
            f"no run of the baseline {baseline!r}; there are {', '.join(names)}. Name one of them "
            "with --baseline"
        )
    fit = fit_chinchilla(surfaces, bootstrap=bootstrap, seed=seed)
    others = [name for name in names if name != baseline and len(names) > 1]
    said = [*fit.statements, *_tested(surfaces, seed)]
    if output:  # before it is printed, which may fail
        output.parent.mkdir(parents=True, exist_ok=True)
        content = _as_json(fit, baseline, others, level=level, statements=said)
        write_json(output, content | {"left_out": list(read.left_out)})
    console.print(_laws_table(fit, level))
    if others:
        console.print(_efficiencies_table(fit, baseline, others, level))
    print_statements(console, said)
    if output:
        say(console, f"written: {output}")
    return 0


def _surface(name: str, runs: Sequence[Result]) -> Surface:
    """Return the losses over models and tokens; N is without the embedding for run directories."""
    columns = zip(*((run.parameters, run.tokens, run.loss) for run in runs), strict=True)
    return Surface(name, *(np.array(column) for column in columns))


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
        table.add_row(name, *(with_interval(v, *e) for v, e in zip(values, ends, strict=True)))
    return table


def _efficiencies_table(
    fit: ChinchillaFit, baseline: str, others: Sequence[str], level: float
) -> Table:
    title = f"what {baseline} needs for the same term of the loss, over what was used"
    table = Table("optimizer", "rho_N", "rho_D", title=title, title_justify="left")
    for name in others:
        table.add_row(
            name, *(with_interval(*row) for row in fit.efficiencies(baseline, name, level))
        )
    return table


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
            "law": dict(zip(LETTERS, vars(law).values(), strict=True)),
            "interval": dict(zip(LETTERS, fit.interval(name, level).tolist(), strict=True)),
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
        "fits": laws,
        "efficiencies": factors,
        "statements": list(statements),
    }
