"""What a training tells whoever started it: signs of life, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adana.runs import State

WARNING = "warning: "
"""What a message begins with that is the same for all runs of one kind."""


@dataclass(frozen=True)
class Progress:
    """One sign of life of a run, for bars and logs."""

    step: int
    steps: int
    loss: float | None = None
    """Training loss since the last sign, if any step was made."""
    val_loss: float | None = None
    tokens_per_second: float | None = None
    message: str = ""
    """Something a person should read."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: State
    step: int
    reason: str = ""
    summary: dict[str, Any] | None = None


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Show nothing."""
