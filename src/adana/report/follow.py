"""Following a run while somebody else trains it: only its files are read."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adana.report.records import number
from adana.runs import Run

SPEED_ROWS = 20
"""Training rows that the present speed is the median of."""


@dataclass
class Follower:
    """The curves of a run so far; `read` adds what was written since the last call."""

    run: Run
    steps: int
    """Planned steps."""
    step: int = 0
    training: list[tuple[int, float]] = field(default_factory=list)
    """Training losses by step."""
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """Validation losses by step."""
    last: dict[str, Any] = field(default_factory=dict)
    """The newest training row."""
    _at: int = 0
    _times: list[tuple[int, float]] = field(default_factory=list)

    def read(self) -> list[Mapping[str, Any]]:
        """Read the rows that were added, and return them.

        A file that became shorter is one that a resumed run cut back: it is read again from the
        start. A last line without an end is left for the next time.
        """
        path = self.run.path / "metrics.jsonl"
        if not path.exists():
            return []
        if path.stat().st_size < self._at:
            self._at, self.step = 0, 0
            self.training, self.evaluations, self._times = [], [], []
        with open(path, "rb") as file:
            file.seek(self._at)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        rows = [json.loads(line) for line in whole.splitlines()]
        for row in rows:
            self._take(row)
        return rows

    def _take(self, row: dict[str, Any]) -> None:
        self.step = int(row["step"])
        if "train_loss" in row:
            self.last = row
            self.training.append((self.step, _loss(row, "train_loss")))
        if "val_loss" in row:
            self.evaluations.append((self.step, _loss(row, "val_loss")))
        seconds = number(row.get("timing") or {}, "seconds")
        if seconds is not None:
            self._times.append((self.step, seconds))

    @property
    def tokens_per_second(self) -> float | None:
        """The newest rate of training."""
        return number(self.last.get("timing") or {}, "tokens_per_second")

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the planned end at the present speed, evaluations included; None if unknown.

        The time of a step is a mean over the last `SPEED_ROWS` rows.
        """
        recent = [at for at in self._times if at[0] > 0][-SPEED_ROWS:]
        if len(recent) < 2 or recent[-1][0] == recent[0][0]:
            return None
        (first, begun), (last, now) = recent[0], recent[-1]
        return (self.steps - self.step) * (now - begun) / (last - first)

    @property
    def smooth_loss(self) -> float | None:
        """Median training loss of the last `SPEED_ROWS` rows; None before the first."""
        recent = [loss for _, loss in self.training[-SPEED_ROWS:]]
        return statistics.median(recent) if recent else None


def _loss(row: Mapping[str, Any], key: str) -> float:
    value = number(row, key)
    return math.nan if value is None else value
