"""What people see while a search runs: what it tries, what it found, and when it may end."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from adana.cli.progress import is_news
from adana.cli.terminal import say
from adana.train import Progress as Sign
from adana.tune import Move, Progress


class SearchDisplay:
    """Bars of a search and of its trainings on a terminal, plain lines elsewhere.

    Use as a context manager; `search` and `sign` are the callbacks of `adana.tune.tune_scales`.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Bars | None = None
        self._all: TaskID | None = None
        self._trials: dict[str, TaskID] = {}
        self._stage = ("", "")
        if console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
                console=console,
            )

    def __enter__(self) -> SearchDisplay:
        if self._bars:
            self._bars.start()
            self._all = self._bars.add_task("search", total=None, note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.stop()

    def search(self, progress: Progress) -> None:
        """Show how far the search is, and whatever has just become known."""
        if (progress.scale, progress.stage) != self._stage:
            self._stage = (progress.scale, progress.stage)
            say(self.console, f"{progress.scale}: {progress.stage}")
        if progress.loss is not None:
            self._end_trial(progress.trial)
            say(
                self.console,
                f"  [{progress.runs}/{progress.expected}] {progress.trial}: "
                f"{loss_text(progress.loss)}, ETA {time_text(progress.eta)}",
            )
        if progress.move is not None:
            say(self.console, f"  {move_text(progress.move)}")
        if self._bars and self._all is not None:
            self._bars.update(
                self._all,
                completed=progress.runs,
                total=max(progress.expected, 1),
                note=f"{progress.runs}/{progress.expected} runs, ETA {time_text(progress.eta)}",
            )

    def sign(self, name: str, sign: Any) -> None:
        """Show one sign of life of a training."""
        assert isinstance(sign, Sign)
        if is_news(sign.message):
            say(self.console, f"  {name}: {sign.message}")
        if not self._bars:
            return
        if name not in self._trials:
            self._trials[name] = self._bars.add_task(name, total=sign.steps, note="")
        self._bars.update(self._trials[name], completed=sign.step)
        if sign.loss is not None:
            self._bars.update(self._trials[name], note=f"loss {sign.loss:.3f}")

    def _end_trial(self, name: str) -> None:
        if self._bars and name in self._trials:
            self._bars.remove_task(self._trials.pop(name))


def loss_text(loss: float) -> str:
    """Say a loss; an infinite one is a divergence."""
    return f"loss {loss:.4f}" if math.isfinite(loss) else "diverged"


def time_text(seconds: float | None) -> str:
    """Say a time as H:MM:SS."""
    if seconds is None:
        return "unknown"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def move_text(move: Move) -> str:
    """Say what a sweep has decided, and by how much."""
    own = move.sweep
    edge = f" ({own.edge})" if own.edge else ""
    if move.moved:
        return f"{own.name}: {own.before} -> {own.best}{edge}, gains {own.gain:.4f}"
    if own.gain > 0:
        return (
            f"{own.name}: stays {own.before}; {own.best}{edge} gains {own.gain:.4f}, which is "
            "within the noise (delta1)"
        )
    return f"{own.name}: stays {own.before}, the best of {len(own.values)}{edge}"
