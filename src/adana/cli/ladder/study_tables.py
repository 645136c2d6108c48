"""A study as tables for people: sizes, learning rates, and how long all of it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from adana import schedules
from adana.cli.grid import Grid
from adana.ladder import Carried, Cell, Rate, Study, budget_rule
from adana.nn import PFH, count_parameters, training_flops
from adana.report import plain
from adana.train import ScheduleConfig


def print_study(
    console: Console,
    study: Study,
    grid: Mapping[Cell, Sequence[Rate]],
    *,
    left: int,
    hours: float | None,
    jobs: int,
    corpus_tokens: int,
) -> None:
    """Print everything about a study. `left` trainings are to be made; None: hours unknown."""
    sizes, rates = sizes_table(study, corpus_tokens), rates_table(study, grid)
    runs = sum(len(own) for own in grid.values()) * study.seeds
    tokens = sum(len(own) * study.seeds * _tokens(study, cell.size) for cell, own in grid.items())
    budget = budget_rule(study.tokens_per_param, study.batch_size, study.sequence_length)
    schedule = ScheduleConfig(study.schedule).text()
    exceptions = ["what names say"] if any(":" in label for label in study.optimizers) else []
    exceptions += ["what searches found"] if study.tuned else []
    notes = [
        f"T = {budget}; all at omega {schedules.OMEGA:g}, kappa {schedules.KAPPA:g} where there is "
        f"one, {schedule}{f', but for {but}' if (but := ' and '.join(exceptions)) else ''}",
        *dict.fromkeys(f"{cell.optimizer}: {own[0].source}" for cell, own in grid.items()),
        *(f"{name}: {_found(tuned)}" for name, tuned in study.tuned.items()),
    ]
    if study.tuned:
        notes.append(f"seeds from {study.first_seed} on, which no search has trained")
    console.print(sizes.fitting(console))
    console.print(rates.fitting(console))
    for note in notes:
        console.print(Padding(Text(note), (0, 0, 0, 3)))
    console.print(
        f"\nTotal: {runs} trainings, {tokens / 1e6:.4g} M tokens; {_time(runs, left, hours, jobs)}",
        highlight=False,
    )


def _found(found: Carried) -> str:
    """Say what a search found, and where."""
    if not found.tuned:
        return "only the learning rate was tuned, which the ladder sweeps itself"
    several = []
    for name in found.tuned:
        if name in ("warmup_steps", "cooldown_steps"):
            length = getattr(found.schedule, name)
            share = "as everyone's" if length is None else f"{100 * length / found.steps:.3g} %"
            several.append(f"{name.removesuffix('_steps')} {share}")
        else:
            places = found.optimizer, found.schedule, found
            value = next(getattr(own, name) for own in places if hasattr(own, name))
            several.append(f"{name} {'as by default' if value is None else plain(value)}")
    return f"{', '.join(several)}, {found.source}"


def _time(runs: int, left: int, hours: float | None, jobs: int) -> str:
    """Say how long the trainings that are left take."""
    if not left:
        return "all trained already"
    which = "" if left == runs else f"for the {left} that are left "
    if hours is None:
        return f"how long that takes {which}depends on the cluster"
    return (
        f"about {_duration(hours)} here {which}at {jobs} a time (measured; evaluations, and rates "
        "added at the ends, come on top)"
    )


def sizes_table(study: Study, corpus_tokens: int) -> Grid:
    """Return the sizes and their budgets."""
    unit = () if study.unit == "width" else (study.unit,)
    names = (*unit, "width", "layers", "P", "N", "T", "tokens", "epochs", "C (PFH)")
    table = Grid("Sizes", *names)
    for size in sorted(study.sizes):
        model = study.model(size)
        counts, tokens = count_parameters(model), _tokens(study, size)
        table.add(
            *(str(size) for _ in unit),
            str(model.width),
            str(model.depth),
            f"{counts.non_embedding:,}",
            f"{counts.total:,}",
            f"{study.steps(size):,}",
            f"{tokens:,}",
            f"{tokens / corpus_tokens:.2f}",
            f"{training_flops(model, tokens)['6PD'] / PFH:.3g}",
        )
    return table


def rates_table(study: Study, grid: Mapping[Cell, Sequence[Rate]]) -> Grid:
    """Return the learning rates of every optimizer, a line for each size."""
    table = Grid("Peak learning rates", study.unit, *study.optimizers)
    for size in sorted(study.sizes):
        ranges = (grid[Cell(name, size)] for name in study.optimizers)
        table.add(str(size), *(f"{own[0].lr:.3g} to {own[-1].lr:.3g}" for own in ranges))
    return table


def _tokens(study: Study, size: int) -> int:
    return study.steps(size) * study.batch_size * study.sequence_length


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"
