"""What people see while trainings run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from adana.cli.terminal import say, unbreakable
from adana.train import Progress as Sign
from adana.train.progress import WARNING

NARROW = 100
"""Columns below which a bar leaves the validation loss out, so that its ETA fits."""

LINE_EVERY = 0.1
"""Fraction of a run between two plain lines."""

MANY = 12
"""More runs than this get a plain line at their end, and one a `LULL` from those that train."""

LULL = 60.0
"""Seconds between plain lines where there are many runs."""


_told: set[str] = set()
"""Warnings that this command has shown."""


def is_news(message: str) -> bool:
    """Whether a message is to be shown: not if it is a warning that another run has given."""
    if not message.startswith(WARNING):
        return bool(message)
    known = message in _told
    _told.add(message)
    return not known


class Display:
    """Progress of `jobs` trainings of `total_steps` steps together. Use as a context manager.

    `costs` says what a step of a run is worth, where steps differ: `total_steps` is then the sum of
    steps times costs, and the time left allows for large models that come last. Where the console
    cannot be written any more, nothing more is shown, and nothing is raised.
    """

    def __init__(
        self,
        console: Console,
        total_steps: float,
        jobs: int,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        self.console, self.total_steps, self.jobs = unbreakable(console), total_steps, jobs
        self._costs = costs or {}
        self._ended = 0
        self._said_at = time.monotonic()
        self._begun: float | None = None
        self._runs: dict[str, _RunLine] = {}
        self._bars: Progress | None = None
        self._overall: TaskID | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False, table_column=_fixed()),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f}%", table_column=_fixed()),
                TextColumn("{task.fields[note]}", markup=False, table_column=_fixed()),
                TextColumn("ETA", table_column=_fixed()),
                TimeRemainingColumn(compact=True, table_column=_fixed()),
                console=console,
            )

    def __enter__(self) -> Display:
        if self._bars:
            self._bars.start()
            if self.jobs > 1:
                self._overall = self._bars.add_task(
                    f"all {self.jobs} runs", total=self.total_steps, note=""
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.stop()

    def update(self, name: str, sign: Sign) -> None:
        """Show one sign of life of the run `name`."""
        self._begun = self._begun or time.monotonic()
        line = self._runs.setdefault(name, _RunLine(sign.step, sign.steps))
        line.take(sign)
        if is_news(sign.message):
            say(self.console, f"{name}: {sign.message}")
        if self._bars:
            if line.task is None:
                line.task = self._bars.add_task(name, total=sign.steps, note="")
            note = line.note(with_validation=self.console.width >= NARROW)
            self._bars.update(line.task, completed=sign.step, note=note)
            if self._overall is not None:
                self._bars.update(self._overall, completed=self._steps_done())
        elif line.due() and not self._too_soon():
            self._said_at = time.monotonic()
            say(
                self.console,
                f"{name}: step {sign.step}/{sign.steps}, {line.note()}, ETA {self._eta()}",
            )

    def finish(self, name: str, text: str) -> None:
        """Say how the run `name` ended and take its bar away."""
        line = self._runs.get(name)
        if self._bars and line and line.task is not None:
            self._bars.remove_task(line.task)
        self._ended += 1
        many = self.jobs > MANY
        say(self.console, f"{f'[{self._ended}/{self.jobs}] ' if many else ''}{name}: {text}")

    def _too_soon(self) -> bool:
        """Whether plain lines would crowd out the ends of many runs."""
        return self.jobs > MANY and time.monotonic() - self._said_at < LULL

    def _steps_done(self) -> float:
        return sum(line.step * self._cost(name) for name, line in self._runs.items())

    def _cost(self, name: str) -> float:
        return self._costs.get(name, 1.0)

    def _eta(self) -> str:
        """Time left over all runs, at the mean rate of this session so far."""
        made = sum((line.step - line.first) * self._cost(n) for n, line in self._runs.items())
        if made == 0 or self._begun is None:
            return "unknown"
        left = self.total_steps - self._steps_done()
        seconds = round(left * (time.monotonic() - self._begun) / made)
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _fixed() -> Column:
    return Column(no_wrap=True)


class _RunLine:
    """The last known numbers of one run."""

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.step, self.steps = first, first, steps
        self.task: TaskID | None = None
        self._sign: dict[str, float] = {}
        self._evaluated = first
        self._said = -1

    def take(self, sign: Sign) -> None:
        self.step = sign.step
        for key in ("loss", "val_loss", "tokens_per_second"):
            value = getattr(sign, key)
            if value is not None:
                self._sign[key] = value
        if sign.val_loss is not None:
            self._evaluated = sign.step

    def note(self, with_validation: bool = True) -> str:
        parts = []
        if "loss" in self._sign:
            parts.append(f"loss {self._sign['loss']:.3f}")
        if "val_loss" in self._sign and with_validation:
            at = "" if self._evaluated == self.step else f" @{self._evaluated}"
            parts.append(f"val {self._sign['val_loss']:.3f}{at}")
        if "tokens_per_second" in self._sign:
            rate = self._sign["tokens_per_second"]
            parts.append(f"{rate / 1000:.0f}k tok/s" if rate >= 1000 else f"{rate:.0f} tok/s")
        return " ".join(parts)

    def due(self) -> bool:
        """Whether a plain line is due: at every `LINE_EVERY` of the run."""
        tenth = int(self.step / self.steps / LINE_EVERY)
        if tenth == self._said or "loss" not in self._sign:
            return False
        self._said = tenth
        return True
