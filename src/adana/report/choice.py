"""Which learning rate an optimizer is judged at, by a rule that is written before the data.

For each optimizer and scale, the learning rate with the lowest mean final loss over the seeds that
all its rates share. A rate that diverged on a seed cannot win. Other settings that were varied
(kappa, omega, ...) stay at the value that the optimizer has at most scales (where a scale lacks it,
at the one it has most runs of); what they would change is looked at by itself (`sensitivities`),
never chosen from, so that an optimizer which was varied more gets no more chances.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.laws.bowl import Bowl, fit_bowl_by_seed
from adana.report.cells import ENDED_BADLY, Cell, Scale

RULE = (
    "For each optimizer and size, the learning rate with the lowest mean final loss over the seeds "
    "that all its rates share; a rate that diverged on a seed cannot win. All other settings stay "
    "as they are at most sizes."
)
"""The rule of selection, as the page states it."""


@dataclass(frozen=True)
class Choice:
    """One optimizer at one scale: its learning rates, and the one it is judged at."""

    label: str
    scale: Scale
    grid: tuple[Cell, ...]
    """The cells that differ in nothing but the learning rate, ascending."""
    chosen: Cell | None
    """None where no rate has a finished run and no divergence."""
    bowl: Bowl | None
    """The parabola through the grid; None where no rate has a finite loss."""
    elsewhere: Cell | None = None
    """A cell with other settings whose mean loss is lower: told, not counted."""

    @property
    def edge(self) -> str:
        """``lower`` or ``higher`` if the chosen rate is at that end of several, else empty."""
        tried = [cell for cell in self.grid if cell.losses or cell.diverged]
        if self.chosen is None or len(tried) < 2:
            return ""
        ends = {tried[0].lr: "lower", tried[-1].lr: "higher"}
        return ends.get(self.chosen.lr, "")

    @property
    def losses(self) -> tuple[float, ...]:
        """The final losses of the chosen cell, by seed; empty without one."""
        return tuple(self.chosen.losses.values()) if self.chosen else ()

    def ended(self, state: str) -> int:
        """Count the runs of the grid that ended as ``diverged``, ``failed``, ..."""
        return sum(record.state == state for cell in self.grid for record in cell.records)


@dataclass(frozen=True)
class Sensitivity:
    """How the loss depends on a setting other than the learning rate.

    `rows` are (label, scale, value, mean loss at the best learning rate, finished seeds).
    """

    key: str
    rows: tuple[tuple[str, Scale, Any, float, int], ...]

    @property
    def name(self) -> str:
        """The setting without the part of the configuration it is in: ``kappa``.

        A ``name`` is that of its part: ``schedule`` for ``schedule.name``.
        """
        return self.key.removesuffix(".name").rsplit(".", 1)[-1]


def choose(cells: Sequence[Cell]) -> list[Choice]:
    """Return the choice of every label and scale, in the order of `cells`."""
    found = []
    for label in dict.fromkeys(cell.label for cell in cells):
        own = [cell for cell in cells if cell.label == label]
        main = _main_settings(own)
        for scale in dict.fromkeys(cell.scale for cell in own):
            here = [cell for cell in own if cell.scale == scale]
            grid = [cell for cell in here if _matches(cell, main)]
            if not grid:
                at_this_scale = _main_settings(here)
                grid = [cell for cell in here if _matches(cell, at_this_scale)]
            found.append(_choice(label, scale, grid, here))
    return found


def swept(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return the settings, besides the learning rate, that vary within a label and a scale."""
    values: dict[tuple[str, Scale], list[Mapping[str, Any]]] = {}
    for cell in cells:
        values.setdefault((cell.label, cell.scale), []).append(cell.settings)
    found: dict[str, None] = {}
    for group in values.values():
        for key in dict.fromkeys(key for settings in group for key in settings):
            if len({repr(settings.get(key)) for settings in group}) > 1:
                found[key] = None
    return tuple(found)


def sensitivities(cells: Sequence[Cell]) -> tuple[Sensitivity, ...]:
    """Return, for each varied setting, the mean loss against its value.

    Each value stands with its own best learning rate, and with the other varied settings at their
    main value.
    """
    found = []
    for key in swept(cells):
        rows = []
        for label in dict.fromkeys(cell.label for cell in cells):
            own = [cell for cell in cells if cell.label == label]
            main = {name: value for name, value in _main_settings(own).items() if name != key}
            best: dict[tuple[Scale, Any], Cell] = {}
            for cell in own:
                at = (cell.scale, cell.settings.get(key))
                better = at not in best or cell.mean < best[at].mean
                if _matches(cell, main) and math.isfinite(cell.mean) and better:
                    best[at] = cell
            counts = Counter(scale for scale, _ in best)
            rows += [
                (label, scale, value, cell.mean, len(cell.finished))
                for (scale, value), cell in best.items()
                if counts[scale] > 1
            ]
        if rows:
            found.append(Sensitivity(key, tuple(sorted(rows, key=_order))))
    return tuple(found)


def _order(row: tuple[str, Scale, Any, float, int]) -> tuple[Any, ...]:
    value = row[2]
    number = is_number(value)
    return (row[0], *row[1].order, not number, value if number else str(value))


def is_number(value: Any) -> bool:
    """Whether a setting has a place on an axis; yes and no have none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _main_settings(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the values of the varied settings that a label has at most scales, then in most runs.

    All of them together: the combination was trained as such.
    """
    keys = swept(cells)
    scales: dict[str, set[Scale]] = {}
    runs: Counter[str] = Counter()
    values: dict[str, dict[str, Any]] = {}
    for cell in cells:
        combination = {key: cell.settings.get(key) for key in keys}
        name = repr(combination)
        values.setdefault(name, combination)
        scales.setdefault(name, set()).add(cell.scale)
        runs[name] += len(cell.records)
    best = max(values, key=lambda name: (len(scales[name]), runs[name]))
    return values[best]


def _matches(cell: Cell, settings: Mapping[str, Any]) -> bool:
    return all(cell.settings.get(key) == value for key, value in settings.items())


def _choice(label: str, scale: Scale, grid: Sequence[Cell], here: Sequence[Cell]) -> Choice:
    grid = sorted(grid, key=lambda cell: cell.lr)
    usable = [cell for cell in grid if cell.losses and not cell.diverged]
    shared = set.intersection(*(set(cell.losses) for cell in usable)) if usable else set()
    chosen = min(usable, key=lambda cell: _mean_over(cell, shared)) if usable else None
    others = [cell for cell in here if cell not in grid and math.isfinite(cell.mean)]
    elsewhere = min(others, key=lambda cell: cell.mean) if others else None
    if chosen and elsewhere and elsewhere.mean >= chosen.mean:
        elsewhere = None
    return Choice(label, scale, tuple(grid), chosen, _bowl(grid), elsewhere)


def _mean_over(cell: Cell, seeds: set[int]) -> float:
    """Return the mean loss over `seeds`; over all of the cell's own if there are none."""
    losses = [loss for seed, loss in cell.losses.items() if seed in seeds]
    return statistics.fmean(losses or cell.losses.values())


def _bowl(grid: Sequence[Cell]) -> Bowl | None:
    """Fit the parabola, if any rate has a loss."""
    lrs, losses = [], []
    for cell in grid:
        if cell.diverged:
            lrs.append(cell.lr)
            losses.append({0: math.nan})
        elif cell.losses:
            lrs.append(cell.lr)
            losses.append(dict(cell.losses))
    if not any(math.isfinite(loss) for own in losses for loss in own.values()):
        return None
    return fit_bowl_by_seed(lrs, losses)


def unfinished(cells: Iterable[Cell]) -> list[str]:
    """Return the names of runs that neither finished nor ended badly: still going, or killed."""
    return [
        record.name
        for cell in cells
        for record in cell.records
        if not record.finished and record.state not in ENDED_BADLY
    ]
