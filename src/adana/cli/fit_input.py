"""Where `adana fit` gets its numbers: run directories, or a table somebody already has."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.laws import Curve, Observation
from adana.runs import RunError, find_runs

PFH = 3.6e18
"""Floating-point operations of a PFLOP/s-hour."""


@dataclass(frozen=True)
class Result:
    """The final loss of one training."""

    optimizer: str
    size: str
    """What the training shares with others of its size; the seed and learning rate are apart."""
    abscissa: float
    loss: float
    lr: float | None = None
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


def read_results(sources: Sequence[Path], axis: str) -> list[Result]:
    """Read run directories, folders of them and CSV files.

    Raises `RunError` where there is nothing to read, `ValueError` for an unknown axis or column.
    """
    results: list[Result] = []
    for source in sources:
        if source.is_file():
            results += _from_table(source, axis)
        elif source.is_dir():
            results += _from_runs(source, axis)
        else:
            raise RunError(f"{source} does not exist, expected a CSV file or a folder of runs")
    if not results:
        raise RunError(
            f"there is no finished run in {', '.join(map(str, sources))}; train some, for example "
            "with `adana ladder run --preset smoke`"
        )
    return results


def curves_of(results: Sequence[Result]) -> tuple[list[Curve], list[Choice]]:
    """Return a curve for each optimizer, at the best learning rate of each size, and the choices.

    The best rate is the one with the lowest mean loss over its seeds.
    """
    curves, choices = [], []
    for name in dict.fromkeys(result.optimizer for result in results):
        own = [result for result in results if result.optimizer == name]
        points = []
        for size in dict.fromkeys(result.size for result in own):
            chosen, choice = _best_rate([result for result in own if result.size == size])
            abscissa = sum(result.abscissa for result in chosen) / len(chosen)
            points.append(Observation(abscissa, tuple(result.loss for result in chosen)))
            choices.append(choice)
        curves.append(Curve(name, tuple(sorted(points, key=lambda point: point.compute))))
    return curves, sorted(choices, key=lambda choice: (choice.optimizer, choice.abscissa))


def best_results(results: Sequence[Result]) -> tuple[dict[str, list[Result]], list[Choice]]:
    """Return, by optimizer, every run at the best learning rate of its size, and the choices."""
    found: dict[str, list[Result]] = {}
    choices = []
    for name, size in dict.fromkeys((result.optimizer, result.size) for result in results):
        cell = [r for r in results if (r.optimizer, r.size) == (name, size)]
        chosen, choice = _best_rate(cell)
        found.setdefault(name, []).extend(chosen)
        choices.append(choice)
    return found, choices


def _best_rate(results: Sequence[Result]) -> tuple[list[Result], Choice]:
    by_rate: dict[float | None, list[Result]] = {}
    for result in results:
        by_rate.setdefault(result.lr, []).append(result)
    best = min(by_rate, key=lambda lr: sum(r.loss for r in by_rate[lr]) / len(by_rate[lr]))
    rates = sorted(lr for lr in by_rate if lr is not None)
    edge = len(rates) > 1 and best in (rates[0], rates[-1])
    chosen = by_rate[best]
    first = chosen[0]
    choice = Choice(first.optimizer, first.abscissa, best, len(by_rate), len(chosen), edge)
    return chosen, choice


def _from_runs(folder: Path, axis: str) -> Iterable[Result]:
    for run in find_runs(folder):
        summary = run.summary() if run.finished else None
        if summary is None or not isinstance(summary.get("val_loss"), int | float):
            continue
        config = run.config()
        optimizer = config["optimizer"]
        parameters, tokens = summary["non_embedding_parameters"], summary["tokens"]
        yield Result(
            optimizer=optimizer.get("label") or optimizer["name"],
            size=f"{parameters} parameters, {tokens} tokens",
            abscissa=_abscissa(summary, axis),
            loss=float(summary["val_loss"]),
            lr=optimizer.get("lr"),
            parameters=float(parameters),
            tokens=float(tokens),
        )


def _abscissa(summary: Mapping[str, Any], axis: str) -> float:
    if axis in ("compute", "tokens", "seconds"):
        return float(summary[axis])
    name = axis.removeprefix("flops-")
    if axis == name or name not in summary["flops"]:
        known = ", ".join(f"flops-{name}" for name in summary["flops"])
        raise ValueError(f"--axis is compute, tokens, seconds or one of {known}, got {axis!r}")
    return float(summary["flops"][name]) / PFH


def _from_table(path: Path, axis: str) -> Iterable[Result]:
    with open(path, newline="", encoding="utf-8") as file:
        lines = (line for line in file if not line.startswith("#"))
        for number, row in enumerate(csv.DictReader(lines), start=1):
            yield _from_row(path, number, row, axis)


def _from_row(path: Path, number: int, row: Mapping[str, str], axis: str) -> Result:
    chinchilla = {"parameters", "tokens"} <= set(row) and axis not in row
    needed = ["optimizer", "loss", *(("parameters", "tokens") if chinchilla else (axis,))]
    missing = [column for column in needed if not row.get(column)]
    if missing:
        raise ValueError(
            f"{path}, row {number}: no value for {', '.join(missing)}; expected columns "
            f"optimizer,{axis},loss and, where there are some, seed and lr; or "
            "optimizer,parameters,tokens,loss for --form chinchilla"
        )
    try:
        parameters = float(row.get("parameters") or "nan")
        tokens = float(row.get("tokens") or "nan")
        abscissa = 6 * parameters * tokens / PFH if chinchilla else float(row[axis])
        lr = float(row["lr"]) if row.get("lr") else None
        loss = float(row["loss"])
    except ValueError as error:
        raise ValueError(f"{path}, row {number}: {error}") from None
    size = f"{abscissa!r} {parameters!r} {tokens!r}"
    return Result(row["optimizer"], size, abscissa, loss, lr, parameters, tokens)
