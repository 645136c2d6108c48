"""What people see of a search: how far it is while it runs, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from adana.cli.grid import Grid
from adana.cli.progress import say
from adana.tune import Budget, Move, ScaleResult, Sensitivity, StudyResult
from adana.tune import Progress as SearchProgress


class SearchDisplay:
    """Progress of a whole search. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._whole: TaskID | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[note]}", markup=False),
                console=console,
            )

    def __enter__(self) -> SearchDisplay:
        if self._bars:
            self._bars.start()
            self._whole = self._bars.add_task("search", total=1, note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.stop()

    def on_event(self, name: str, sign: Any) -> None:
        """Show a sign of life of one training."""
        if sign.message:
            say(self.console, f"{name}: {sign.message}")
        if self._bars:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(f"  {name}", total=sign.steps, note="")
            note = "" if sign.loss is None else f"loss {sign.loss:.3f}"
            self._bars.update(self._tasks[name], completed=sign.step, note=note)

    def on_progress(self, progress: SearchProgress) -> None:
        """Show how far the search is."""
        where = f"{progress.scale}, {progress.stage}"
        far = f"{progress.runs} of about {progress.expected} runs, ETA {clock(progress.eta)}"
        if self._bars and self._whole is not None:
            if progress.trial in self._tasks:
                self._bars.remove_task(self._tasks.pop(progress.trial))
            self._bars.update(
                self._whole,
                description=where,
                completed=progress.runs,
                total=max(progress.expected, 1),
                note=far,
            )
        if progress.move is not None:
            say(self.console, f"{where}: {move_text(progress.move)}")
        elif progress.loss is not None and not self._bars:
            say(self.console, f"{where}: {progress.trial}: {loss_text(progress.loss)} ({far})")


def clock(seconds: float | None) -> str:
    """Write a time as h:mm:ss."""
    if seconds is None:
        return "unknown"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def loss_text(loss: float) -> str:
    """Write a loss; an infinite one is that of a training that diverged."""
    return f"{loss:.4f}" if math.isfinite(loss) else "diverged"


def move_text(move: Move) -> str:
    """Say what a sweep found, and whether it was taken."""
    own = move.sweep
    if not own.gain:
        return f"{own.before} stays, the best of {len(own.values)}"
    gain = f"{own.best_value} gains {own.gain:.4f} over {own.before}"
    return f"{gain}: taken" if move.moved else f"{gain}: within the noise, not taken"


def show_result(console: Console, study: StudyResult) -> None:
    """Print what was found at every scale, and what the scales say together."""
    for result in study.scales:
        _show_scale(console, result)
    if len(study.scales) > 1:
        console.print(_sensitivity_grid(study.sensitivities).fitting(console))
        for own in study.sensitivities:
            say(console, own.statement)
    floor = study.floor
    say(console, f"\nthresholds: delta1 {floor.delta1:.4g}, delta2 {floor.delta2:.4g}")
    say(console, f"  {floor.source}")


def _show_scale(console: Console, result: ScaleResult) -> None:
    grid = Grid(
        f"{result.scale.name}: loss {result.loss:.4f}"
        + (f", begun with the best of {result.warm_start}" if result.warm_start else ""),
        "hyperparameter",
        "best",
        "near-optimal",
        "tried",
        "worst costs",
    )
    for name, own in result.sweeps.items():
        finite = [loss for loss in own.losses if math.isfinite(loss)]
        near = own.near_optimal(result.floor.delta2)
        edge = f" ({own.edge})" if own.edge else ""
        grid.add(
            name,
            f"{result.best[name]}{edge}",
            ", ".join(map(str, near)),
            str(len(own.values)),
            f"{max(finite) - own.loss:.4f}" if len(finite) == len(own.losses) else "diverged",
        )
    console.print(grid.fitting(console))
    if not result.descent.converged:
        say(console, "the last pass still moved something: allow more with --max-passes")
    for check in result.joints:
        say(console, check.verdict)


def _sensitivity_grid(sensitivities: tuple[Sensitivity, ...]) -> Grid:
    names = list(sensitivities[0].optima) if sensitivities else []
    grid = Grid("sensitivity", "hyperparameter", "verdict", *names, "one value costs", "moved by")
    for own in sensitivities:
        cost = f"{own.cost:.4f}" if math.isfinite(own.cost) else "diverges"
        grid.add(
            own.name,
            own.verdict,
            *(str(own.optima[name]) for name in names),
            "-" if math.isnan(own.cost) else cost,
            " and ".join(own.moved_by) or "-",
        )
    return grid


def budget_grid(budgets: Mapping[str, Budget]) -> Grid:
    """Return what was spent on tuning, a line per optimizer."""
    grid = Grid("tuning so far", "optimizer", "runs", "diverged", "tokens", "device-hours")
    for name, own in budgets.items():
        grid.add(
            name,
            str(own.runs),
            str(own.diverged),
            f"{own.tokens:,}",
            f"{own.device_hours:.3g}",
        )
    return grid
