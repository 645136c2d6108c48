"""A search as tables for people: its grids, its budget, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console

from adana.cli.grid import Grid
from adana.cli.progress import say
from adana.train import TrainConfig
from adana.tune import Budget, Problem, Rules, ScaleResult, StudyResult, planned_runs


def print_plan(
    console: Console,
    problems: Sequence[Problem],
    rules: Rules,
    bases: Mapping[str, TrainConfig],
    seconds: Mapping[str, float],
    *,
    jobs: int,
) -> None:
    """Print what will be tried and what it costs; `seconds` are those of a step, by scale."""
    console.print(_grids(problems).fitting(console))
    table = Grid("Budget", "size", "N", "D", "runs", "per further pass", "tokens", "device-hours")
    for problem in problems:
        name, base = problem.scale.name, bases[problem.scale.name]
        first, further = planned_runs(problem.space, rules)
        tokens = first * base.steps * base.tokens_per_step
        hours = first * base.steps * seconds[name] / 3600
        table.add(
            name,
            f"{problem.scale.parameters:,.0f}",
            f"{problem.scale.tokens:,.0f}",
            str(first),
            f"at most {further}",
            f"{tokens:,}",
            f"{hours:.3g}",
        )
    console.print(table.fitting(console))
    say(
        console,
        f"{jobs} trainings at a time. Runs are those of the first pass with noise and joint "
        "checks; longer grids and values of other sizes come on top, what was trained before is "
        "free. Hours: a step measured here, evaluations come on top.",
    )


def print_result(console: Console, result: StudyResult, commands: Sequence[str]) -> None:
    """Print what was found; `commands` train the best configuration of each scale."""
    console.print(_found(result).fitting(console))
    say(console, f"thresholds: {result.floor.source}")
    for own in result.scales:
        for text in _remarks(own):
            say(console, f"{own.scale.name}: {text}")
    if len(result.scales) > 1:
        console.print(_sensitivity(result).fitting(console))
        for verdict in result.sensitivities:
            say(console, verdict.statement)
    console.print(_budget(result).fitting(console))
    for own, command in zip(result.scales, commands, strict=True):
        say(console, f"{own.scale.name}: {command}")


def _grids(problems: Sequence[Problem]) -> Grid:
    table = Grid("Grids", "hyperparameter", *(problem.scale.name for problem in problems))
    for rows in zip(*(problem.space for problem in problems), strict=True):
        cells = []
        for own in rows:
            values = own.values(own.baseline)
            cells.append(" ".join(f"[{v}]" if v == own.baseline else str(v) for v in values))
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
            cells.append(f"{own.best[name]} ({', '.join(map(str, near))})")
        table.add(name, *cells)
    table.add("loss", *(f"{own.loss:.4f}" for own in result.scales))
    return table


def _remarks(own: ScaleResult) -> list[str]:
    """Return what a person must know before trusting the optimum."""
    texts = [check.verdict for check in own.joints]
    texts += [
        f"the best {name} is no optimum between worse values: {edge}"
        for name, edge in own.edges.items()
    ]
    if not own.descent.converged:
        texts.append(
            f"still moving after {len(own.descent.passes)} passes; the same command with a higher "
            "--max-passes goes on"
        )
    if own.warm_start:
        texts.append(f"began from the best of {own.warm_start}")
    return texts


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
            *(str(own.optima[size]) for size in sizes),
            _number(own.cost),
            _number(own.spread),
            " and ".join(own.moved_by) or "-",
        )
    return table


def _budget(result: StudyResult) -> Grid:
    table = Grid("Spent", "size", "runs", "known before", "diverged", "tokens", "device-hours")
    rows: list[tuple[str, Budget]] = [(own.scale.name, own.budget) for own in result.scales]
    if len(rows) > 1:
        rows.append(("together", result.budget))
    for name, own in rows:
        table.add(
            name,
            str(own.runs),
            str(own.recalled),
            str(own.diverged),
            f"{own.tokens:,}",
            f"{own.device_hours:.3g}",
        )
    return table


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "cannot tell"
