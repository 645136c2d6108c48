"""One run directory as reports read it: settings, state, curves and final numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from adana.runs import Run, RunError, identity

CADENCE_SUFFIX = "every"
"""Keys that end so (``eval_every``) say how often something is written, not what is computed."""


class Point(NamedTuple):
    """A loss (nats a token) on a curve."""

    step: int
    tokens: int
    loss: float


@dataclass(frozen=True)
class Record:
    """One run as it was read: its settings, its state, its curves and its final numbers."""

    name: str
    identity: str
    label: str
    seed: int
    steps: int
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    state: str
    reason: str
    last_step: int
    summary: Mapping[str, Any]
    training: tuple[Point, ...]
    evaluations: tuple[Point, ...]
    schedule: tuple[tuple[int, Mapping[str, float]], ...]
    seconds: float | None = None
    """Training time so far, over all sessions; None where the run does not say."""
    path: Path | None = None
    """The run directory it was read from."""

    @property
    def place(self) -> str:
        """Where the run is, for messages: its directory, or its name where that is not known."""
        return self.name if self.path is None else str(self.path)

    @property
    def finished(self) -> bool:
        """Whether the run ended as planned, with a finite loss."""
        return self.state == "finished" and number(self.summary, "val_loss") is not None

    @property
    def loss(self) -> float:
        """The final validation loss (nats a token) of a finished run."""
        return float(self.summary["val_loss"])


def read_record(run: Run) -> Record:
    """Read one run directory: losses in nats a token, times in seconds.

    Raises:
        RunError: a file cannot be read or is of another version, or its configuration does not say
            what was trained.
    """
    config, status = run.config(), run.status()
    optimizer = config.get("optimizer", {})
    label = optimizer.get("label") or optimizer.get("name")
    if not label or "seed" not in config or "steps" not in config:
        raise RunError(
            f"{run.path / 'config.json'} lacks optimizer.name, seed or steps, so it is not clear "
            "what was trained. Leave this run out, or train it again."
        )
    rows = list(run.metrics())
    summary = run.summary()
    reason = str(status.get("reason") or "")
    if status["state"] == "finished" and number(summary or {}, "val_loss") is None:
        reason = reason or "summary.json holds no finite val_loss"
    return Record(
        name=run.name,
        identity=identity(config),
        label=str(label),
        seed=int(config["seed"]),
        steps=int(config["steps"]),
        config=config,
        environment=run.environment(),
        state=str(status["state"]),
        reason=reason,
        last_step=int(status.get("step") or 0),
        summary=summary or {},
        training=_curve(rows, "train_loss"),
        evaluations=_curve(rows, "val_loss"),
        schedule=tuple(_schedule(rows)),
        seconds=number(summary or {}, "seconds") or _seconds(rows),
        path=run.path,
    )


def number(values: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, or None; run directories write NaN and infinity as strings."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as ``{"optimizer.lr": 0.008, ...}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _curve(rows: Iterable[Mapping[str, Any]], key: str) -> tuple[Point, ...]:
    points = ((row, number(row, key)) for row in rows)
    return tuple(
        Point(int(row["step"]), int(row["tokens"]), loss)
        for row, loss in points
        if loss is not None
    )


def _schedule(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, float]]]:
    for row in rows:
        values = row.get("schedule") or {}
        numbers = {key: value for key in values if (value := number(values, key)) is not None}
        if numbers:
            yield int(row["step"]), numbers


def _seconds(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return number(rows[-1].get("timing") or {}, "seconds") if rows else None
