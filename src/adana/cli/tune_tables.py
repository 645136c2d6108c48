"""A search as tables for people: its grids, its budget, and what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from rich.console import Console

from adana.cli.grid import Grid
from adana.cli.terminal import say
from adana.cli.tune_sizes import Size
from adana.report import best_of_nothing, plain
from adana.tune import Budget, Rules, StudyResult, planned_runs, spent_below


def print_plan(
    console: Console,
    sizes: Sequence[Size],
    rules: Rules,
    seconds: Sequence[float] | None,
    *,
    jobs: int,
) -> None:
    """Print what will be tried and what it costs; `seconds` are those of a step at each size.

    None where other machines train, whose speed is not known.
    """
    console.print(_grids(sizes).fitting(console))
    table = Grid("Budget", "size", "N", "D", "runs", "per further pass", "tokens", "device-hours")
    for size, of_a_step in zip_longest(sizes, seconds or ()):
        first, further = planned_runs(size.space, rules)
        tokens = first * size.start.steps * size.start.tokens_per_step
        table.add(
            size.scale.name,
            f"{size.scale.parameters:,.0f}",
            f"{size.scale.tokens:,.0f}",
            str(first),
            f"at most {further}",
            f"{tokens:,}",
            "-" if of_a_step is None else f"{first * size.start.steps * of_a_step / 3600:.3g}",
        )
    console.print(table.fitting(console))
    say(
        console,
        f"{jobs} trainings at a time. Runs are those of the first pass with noise and joint "
        "checks; longer grids, what is tried together at the end and values of other sizes come "
        "on top, what was trained before is free."
        + ("" if seconds is None else " Hours: a step measured here, evaluations come on top."),
    )
    for size in sizes:
        say(console, f"{size.scale.name}: learning rate {size.rate.lr:.4g}, {size.rate.source}")


def print_result(console: Console, result: StudyResult, runs: Path, vocab_size: int) -> None:
    """Print what was found, and what it took, beside all searches in `runs` by optimizer.

    `vocab_size` is that of the models, from which follows what guessing would give.
    """
    console.print(_found(result).fitting(console))
    floor = result.floor
    say(console, f"delta1 {floor.delta1:.4g}, delta2 {floor.delta2:.4g}: {floor.source}")
    for own in result.scales:
        nothing = best_of_nothing(own.loss, math.log(vocab_size))
        for text in (*own.remarks, *([nothing] if nothing else [])):
            say(console, f"{own.scale.name}: {text}")
    if len(result.scales) > 1:
        console.print(_sensitivity(result).fitting(console))
        for verdict in result.sensitivities:
            say(console, verdict.statement)
    console.print(_budget(result).fitting(console))
    spent = spent_below(runs)
    if len(spent) > 1:
        table = Grid("Spent on tuning, all searches together", "", *_COSTS)
        for name, budget in spent.items():
            table.add(name, *_costs(budget))
        console.print(table.fitting(console))


def _grids(sizes: Sequence[Size]) -> Grid:
    table = Grid("Grids", "hyperparameter", *(size.scale.name for size in sizes))
    for rows in zip(*(size.space for size in sizes), strict=True):
        cells = []
        for own in rows:
            values = own.values(own.baseline)
            shown = (f"[{plain(v)}]" if v == own.baseline else plain(v) for v in values)
            cells.append(" ".join(shown))
        table.add(rows[0].name, *cells)
    return table


def _found(result: StudyResult) -> Grid:
    """Return a line for each hyperparameter: its best value and its near-optimal ones."""
    columns = (f"{own.scale.name}: best (near-optimal)" for own in result.scales)
    table = Grid("Found", "hyperparameter", *columns)
    for name in result.scales[0].sweeps:
        cells = []
        for own in result.scales:
            near = own.sweeps[name].near_optimal(own.floor.delta2)
            cells.append(f"{plain(own.best[name])} ({', '.join(map(plain, near))})")
        table.add(name, *cells)
    table.add("loss", *(f"{own.loss:.4f}" for own in result.scales))
    return table


def _sensitivity(result: StudyResult) -> Grid:
    sizes = [own.scale.name for own in result.scales]
    table = Grid(
        "Sensitivity",
        *("hyperparameter", "verdict", *(f"best, {size}" for size in sizes)),
        *("one value costs", "worst value costs", "moved by"),
    )
    for own in result.sensitivities:
        table.add(
            own.name,
            own.verdict,
            *(plain(own.optima[size]) for size in sizes),
            _number(own.cost),
            _number(own.spread),
            " and ".join(own.moved_by) or "-",
        )
    return table


_COSTS = ("runs", "diverged", "tokens", "device-hours")


def _budget(result: StudyResult) -> Grid:
    table = Grid("Spent", "", *_COSTS, "known before")
    for own in result.scales:
        table.add(own.scale.name, *_costs(own.budget), str(own.budget.recalled))
    if len(result.scales) > 1:
        table.add("together", *_costs(result.budget), str(result.budget.recalled))
    return table


def _costs(own: Budget) -> tuple[str, ...]:
    counts = (str(own.runs), str(own.diverged))
    return (*counts, f"{own.tokens:,}", f"{own.device_hours:.3g}")


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "cannot tell"
