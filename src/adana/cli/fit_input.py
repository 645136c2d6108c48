"""Where `adana fit` gets its numbers: run directories, or a table somebody already has.

Run directories are read and chosen from as `adana report` does (`adana.report.choice`), so that the
two never disagree about what an optimizer reached.
"""

from __future__ import annotations

import csv
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from adana.cli.run_folders import runs_below
from adana.laws import Curve, Observation
from adana.nn import PFH
from adana.report.cells import ENDED_BADLY, Cell, Scale, sort_cells
from adana.report.choice import Choice as ChosenCell
from adana.report.choice import choose, swept
from adana.report.reading import read_runs
from adana.report.records import Record, number
from adana.report.study_laws import ladder
from adana.runs import Run, RunError


@dataclass(frozen=True)
class Result:
    """The final loss of one training."""

    optimizer: str
    size: str
    """What the training shares with others of its size; the seed and learning rate are apart."""
    abscissa: float
    loss: float
    """Infinite if it diverged."""
    lr: float | None = None
    seed: str = ""
    parameters: float = math.nan
    tokens: float = math.nan


@dataclass(frozen=True)
class Choice:
    """The learning rate taken for one optimizer at one size."""

    optimizer: str
    abscissa: float
    lr: float | None
    tried: int
    seeds: int
    edge: bool
    """Whether it is the lowest or highest rate tried: the best one may lie beyond."""


@dataclass(frozen=True)
class Input:
    """Every training at the learning rate that its optimizer is judged at, and how that was chosen.

    Trainings that diverged are among the choices only: their rates cannot win.
    """

    results: tuple[Result, ...] = ()
    choices: tuple[Choice, ...] = ()
    left_out: tuple[str, ...] = ()
    """What was not used, in words."""

    def __add__(self, other: Input) -> Input:
        return Input(
            self.results + other.results,
            self.choices + other.choices,
            self.left_out + other.left_out,
        )


def read_input(
    sources: Sequence[Path],
    axis: str,
    console: Console,
    *,
    one_curve: bool = True,
    like: str | None = None,
) -> Input:
    """Read run directories, folders of them (of these `like` as for `runs_below`) and CSV files.

    With `one_curve`, models trained at several lengths are used at the one that makes them a
    ladder: along a curve only one thing should grow.

    Raises:
        RunError: there is nothing to read, or a run does not say where it lies on the axis.
        ValueError: an unknown axis or column, or a row of a table that makes no sense.
    """
    files = [source for source in sources if source.is_file()]
    folders = [source for source in sources if not source.is_file()]
    found = sum((_of_table(file, axis) for file in files), Input())
    if like is not None and not folders:
        raise ValueError(f"--like {like} chooses among run directories, and there are none")
    if folders:
        found += _of_runs(runs_below(folders, console, like), axis, one_curve)
    if not found.results:
        raise RunError(
            f"there is no finished run in {', '.join(map(str, sources))}; train some, for example "
            "with `adana ladder run --preset smoke`"
            + "".join(f"\n- {text}" for text in found.left_out)
        )
    return found


def curves_of(results: Sequence[Result], axis: str) -> list[Curve]:
    """Return a curve for each optimizer.

    Raises:
        RunError: two sizes lie at the same place on the axis.
    """
    curves = []
    for name in dict.fromkeys(result.optimizer for result in results):
        points: dict[str, list[Result]] = {}
        for result in (result for result in results if result.optimizer == name):
            points.setdefault(result.size, []).append(result)
        places = {size: statistics.fmean(r.abscissa for r in own) for size, own in points.items()}
        ordered = sorted(points, key=lambda size: places[size])
        _check_apart(name, axis, ordered, places)
        observations = (
            Observation(places[size], tuple(r.loss for r in points[size])) for size in ordered
        )
        curves.append(Curve(name, tuple(observations)))
    return curves


def _check_apart(name: str, axis: str, ordered: Sequence[str], places: Mapping[str, float]) -> None:
    for one, other in itertools.pairwise(ordered):
        if places[one] == places[other]:
            raise RunError(
                f"two sizes of {name} have the same {axis}, {places[one]:g}: {one} and {other}. "
                "Choose another --axis, or name the runs of one of them"
            )


def _of_runs(runs: Sequence[Run], axis: str, one_curve: bool) -> Input:
    reading = read_runs(runs)
    cells = sort_cells(reading.records)
    found = choose(cells)
    scales = tuple(dict.fromkeys(each.scale for each in found if each.chosen is not None))
    kept = ladder(scales) if one_curve else scales
    beside = [scale for scale in scales if scale not in kept]
    results: list[Result] = []
    choices = []
    words = list(reading.remarks)
    words += [f"{_size(scale)}: not on the ladder that most models share" for scale in beside]
    for each in found:
        cell = each.chosen
        if each.scale in beside:
            continue
        words += [*_not_counted(each), *_otherwise_set(each, cells)]
        if cell is None:
            continue
        own = [_of_record(record, each.scale, axis) for record in cell.finished]
        results += own
        at = statistics.fmean(result.abscissa for result in own)
        choices.append(Choice(each.label, at, cell.lr, len(each.grid), len(own), bool(each.edge)))
    return Input(tuple(results), tuple(choices), tuple(words))


def _not_counted(found: ChosenCell) -> list[str]:
    """Say which runs of an optimizer at one size have no loss that counts; empty if none."""
    lost: dict[str, list[float]] = {}
    for cell in found.grid:
        for record in cell.records:
            if not record.finished:
                lost.setdefault(_end(record), []).append(cell.lr)
    if not lost:
        return []
    where = f"{found.label} at {found.scale.heading}"
    ends = "; ".join(_counted(len(rates), end, rates) for end, rates in lost.items())
    if found.chosen is None:
        return [f"{where} is left out, no rate has a result: {ends}"]
    return [f"{where}: {ends}, not counted"]


def _otherwise_set(found: ChosenCell, cells: Sequence[Cell]) -> list[str]:
    """Say how many runs of this optimizer and size have other settings than those it is judged at.

    They are never chosen from (`adana.report.choice`).
    """
    here = [cell for cell in cells if (cell.label, cell.scale) == (found.label, found.scale)]
    beside = sum(len(cell.records) for cell in here if cell not in found.grid)
    if not beside:
        return []
    names = ", ".join(key.removeprefix("optimizer.") for key in swept(here))
    are = "run has" if beside == 1 else "runs have"
    where = f"{found.label} at {found.scale.heading}"
    return [f"{where}: {beside} {are} another {names} than at most sizes, not counted"]


def _end(record: Record) -> str:
    """Say how a run without a result ended."""
    if record.state == "finished":
        return "finished without a loss"
    return record.state if record.state in ENDED_BADLY else "did not finish"


def _counted(count: int, end: str, rates: Sequence[float | None], what: str = "run") -> str:
    """Return ``2 runs diverged (lr 0.01, 0.02)``."""
    known = sorted({lr for lr in rates if lr is not None})
    at = f" (lr {', '.join(f'{lr:g}' for lr in known)})" if known else ""
    return f"{count} {what}{'' if count == 1 else 's'} {end}{at}"


def _of_record(record: Record, scale: Scale, axis: str) -> Result:
    return Result(
        optimizer=record.label,
        size=_size(scale),
        abscissa=_abscissa(record, axis),
        loss=record.loss,
        parameters=_known(record, "non_embedding_parameters"),
        tokens=_known(record, "tokens"),
    )


def _size(scale: Scale) -> str:
    return f"{scale.name} parameters, {scale.steps} steps"


def _abscissa(record: Record, axis: str) -> float:
    if axis in ("compute", "tokens", "seconds"):
        return _known(record, axis)
    flops = record.summary.get("flops") or {}
    name = axis.removeprefix("flops-")
    if axis == name or name not in flops:
        known = ", ".join(f"flops-{name}" for name in flops)
        raise ValueError(f"--axis is compute, tokens, seconds or one of {known}, got {axis!r}")
    return float(flops[name]) / PFH


def _known(record: Record, key: str) -> float:
    value = number(record.summary, key)
    if value is None:
        raise RunError(f"run {record.name} has no {key} in its summary.json; leave it out")
    return value


def _of_table(path: Path, axis: str) -> Input:
    groups: dict[tuple[str, str], list[Result]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = (line for line in file if not line.startswith("#"))
        for row_number, row in enumerate(csv.DictReader(lines), start=1):
            result = _of_row(f"{path}, row {row_number}", row, axis)
            groups.setdefault((result.optimizer, result.size), []).append(result)
    results: list[Result] = []
    choices, words = [], []
    for own in groups.values():
        best, choice = _best_rate(path, own)
        counts = all(math.isfinite(result.loss) for result in best)
        words += _without_loss(path, own, counts)
        if counts:
            results += best
            choices.append(choice)
    return Input(tuple(results), tuple(choices), tuple(words))


def _without_loss(path: Path, results: Sequence[Result], counts: bool) -> list[str]:
    """Say which rows of one optimizer at one size have no number as their loss.

    `counts` is whether one of its rates has a mean loss all the same.
    """
    lost = [result.lr for result in results if not math.isfinite(result.loss)]
    if not lost:
        return []
    name, size = results[0].optimizer, results[0].size
    rows = _counted(len(lost), "without a finite loss", lost, "row")
    if counts:
        return [f"{name} at {size} ({path}): {rows}, not counted"]
    return [f"{name} at {size} ({path}) is left out, no rate has a mean loss: {rows}"]


def _best_rate(path: Path, results: Sequence[Result]) -> tuple[list[Result], Choice]:
    """Return the rows of the learning rate with the lowest mean loss, and how it was chosen."""
    by_rate: dict[float | None, list[Result]] = {}
    for result in results:
        by_rate.setdefault(result.lr, []).append(result)
    for lr, own in by_rate.items():
        seeds = [result.seed for result in own if result.seed]
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"{path} has a seed twice for {own[0].optimizer} at {own[0].size}"
                + (f", lr {lr:g}" if lr is not None else "")
                + ": a seed counts once; leave one row out"
            )
        copies = [r.loss for r in own if not r.seed and math.isfinite(r.loss)]
        if len(set(copies)) < len(copies):
            raise ValueError(
                f"{path} has the loss {max(copies, key=copies.count):g} twice for "
                f"{own[0].optimizer} at {own[0].size}, without seeds: a copy of a row is no second "
                "seed. Leave it out, or fill in the column seed"
            )
    if None in by_rate and len(by_rate) > 1:
        raise ValueError(
            f"{path} has rows with and without an lr for {results[0].optimizer} at "
            f"{results[0].size}; fill in all of them or none"
        )
    best = min(by_rate, key=lambda lr: statistics.fmean(r.loss for r in by_rate[lr]))
    rates = sorted(lr for lr in by_rate if lr is not None)
    edge = len(rates) > 1 and best in (rates[0], rates[-1])
    chosen = by_rate[best]
    first = chosen[0]
    return chosen, Choice(first.optimizer, first.abscissa, best, len(by_rate), len(chosen), edge)


def _of_row(where: str, row: Mapping[str, Any], axis: str) -> Result:
    chinchilla = {"parameters", "tokens"} <= set(row) and axis not in row
    needed = ["optimizer", "loss", *(("parameters", "tokens") if chinchilla else (axis,))]
    missing = [column for column in needed if not row.get(column)]
    if missing:
        raise ValueError(
            f"{where}: no value for {', '.join(missing)}; expected columns optimizer,{axis},loss "
            "and, where there are some, size, seed and lr; or optimizer,parameters,tokens,loss "
            "for --form chinchilla"
        )
    try:
        parameters = float(row.get("parameters") or "nan")
        tokens = float(row.get("tokens") or "nan")
        abscissa = 6 * parameters * tokens / PFH if chinchilla else float(row[axis])
        lr = float(row["lr"]) if row.get("lr") else None
        loss = float(row["loss"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Result(
        optimizer=row["optimizer"],
        size=_row_size(row, abscissa),
        abscissa=abscissa,
        loss=loss if math.isfinite(loss) else math.inf,
        lr=lr,
        seed=row.get("seed") or "",
        parameters=parameters,
        tokens=tokens,
    )


def _row_size(row: Mapping[str, Any], abscissa: float) -> str:
    """Name the size of a row: what seeds and learning rates share, unlike the seconds they took."""
    for columns in (("size",), ("parameters", "tokens"), ("compute",)):
        if all(row.get(column) for column in columns):
            return ", ".join(f"{column} {row[column]}" for column in columns)
    return f"{abscissa:g}"
