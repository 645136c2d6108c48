"""What a study cost: runs, tokens, compute and device-hours of each optimizer, lost runs included.

A comparison is only as fair as its budgets, so every run counts, also those that diverged or were
killed, with what they had used by then.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adana.report.cells import Cell, Scale
from adana.report.choice import Choice
from adana.report.records import Record, number
from adana.units import PFH


@dataclass(frozen=True)
class Spending:
    """The budget of one optimizer, over all its runs."""

    label: str
    trials: int
    """Different trainings, seeds not counted."""
    runs: int
    finished: int
    diverged: int
    failed: int
    """Runs that ended for another reason than the loss."""
    unfinished: int
    tokens: float
    compute: float
    """6 P D of what was trained, in PFH (3.6e18 FLOP); diverged runs up to where they stopped."""
    device_hours: float | None
    """Hours of training times devices; None where no run says how long it took."""
    silent: int
    """Runs that do not say how long they took, and are not in `device_hours`."""


@dataclass(frozen=True)
class Cost:
    """What a step of one optimizer costs at one scale: medians over the chosen cell's seeds."""

    label: str
    scale: Scale
    optimizer_ms: float | None
    """The optimizer's step."""
    step_ms: float | None
    """The whole step: data, model and optimizer."""
    tokens_per_second: float | None
    state_bytes: float | None
    peak_memory_bytes: float | None
    share: float | None
    """The optimizer's share of the step it is in: median over the finished runs of all rates."""
    devices: tuple[str, ...]
    """What it was measured on; several make the numbers a mixture."""

    def time_against(self, other: Cost) -> float | None:
        """Return this optimizer's time a step over that of `other`, at the same scale.

        From the shares alone: data and model cost both the same, so what is compared was timed
        within single runs, and a machine that was slower for one optimizer does not count against
        it.
        """
        if self.share is None or other.share is None:
            return None
        return (1 - other.share) / (1 - self.share)


def spending(cells: Sequence[Cell]) -> tuple[Spending, ...]:
    """Return the budget of every label, in the order of `cells`."""
    return tuple(
        _spent([cell for cell in cells if cell.label == label])
        for label in dict.fromkeys(cell.label for cell in cells)
    )


def _spent(cells: Sequence[Cell]) -> Spending:
    pairs = [(cell, record) for cell in cells for record in cell.records]
    states = [("finished" if r.finished else r.state) for _, r in pairs]
    hours = [_hours(record) for _, record in pairs]
    known = [value for value in hours if value is not None]
    ended = {state: states.count(state) for state in ("finished", "diverged", "failed")}
    return Spending(
        label=cells[0].label,
        trials=len(cells),
        runs=len(pairs),
        **ended,
        unfinished=len(pairs) - sum(ended.values()),
        tokens=sum(_tokens(cell, record) for cell, record in pairs),
        compute=sum(_compute(cell, record) for cell, record in pairs),
        device_hours=sum(known) if known else None,
        silent=len(hours) - len(known),
    )


def _tokens(cell: Cell, record: Record) -> float:
    """Return the tokens that a run trained on, by its configuration where none like it finished."""
    if cell.scale.tokens:
        return cell.scale.tokens * _part(record)
    model = record.config.get("model") or {}
    per_step = (record.config.get("batch_size") or 0) * (model.get("sequence_length") or 0)
    return float(record.last_step * per_step)


def _compute(cell: Cell, record: Record) -> float:
    """Return 6 P D of what a run trained on, in PFH; 0 where no run of its model says P."""
    if cell.scale.compute is not None:
        return cell.scale.compute * _part(record)
    return 6 * (cell.scale.parameters or 0) * _tokens(cell, record) / PFH


def _part(record: Record) -> float:
    """Return which part of its steps a run made."""
    return 1.0 if record.finished else min(1.0, record.last_step / record.steps)


def _hours(record: Record) -> float | None:
    if record.seconds is None:
        return None
    ranks = number(record.environment, "ranks") or 1.0
    return record.seconds * ranks / 3600


def costs(choices: Iterable[Choice]) -> tuple[Cost, ...]:
    """Return what a step costs, of every choice with a finished run."""
    return tuple(
        _cost(choice, choice.chosen.finished)
        for choice in choices
        if choice.chosen is not None and choice.chosen.finished
    )


def _cost(choice: Choice, records: Sequence[Record]) -> Cost:
    return Cost(
        label=choice.label,
        scale=choice.scale,
        optimizer_ms=_median(number(record.summary, "optimizer_ms") for record in records),
        step_ms=_median(map(_step_ms, records)),
        tokens_per_second=_median(number(r.summary, "tokens_per_second") for r in records),
        state_bytes=_median(number(r.summary, "optimizer_state_bytes") for r in records),
        peak_memory_bytes=_median(number(r.summary, "peak_memory_bytes") for r in records),
        share=_median(_share(record) for cell in choice.grid for record in cell.finished),
        devices=tuple(dict.fromkeys(map(_device, records))),
    )


def _step_ms(record: Record) -> float | None:
    parts = [number(record.summary, key) for key in ("data_ms", "model_ms", "optimizer_ms")]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _share(record: Record) -> float | None:
    step, own = _step_ms(record), number(record.summary, "optimizer_ms")
    return own / step if step and own is not None and own < step else None


def _median(found: Iterable[float | None]) -> float | None:
    values = [value for value in found if value is not None]
    return statistics.median(values) if values else None


def _device(record: Record) -> str:
    environment = record.environment
    device = str(environment.get("device") or "unknown device")
    ranks = int(number(environment, "ranks") or 1)
    name = str(environment.get("processor") or "CPU") if device == "cpu" else device
    return name if ranks == 1 else f"{ranks} x {name}"
