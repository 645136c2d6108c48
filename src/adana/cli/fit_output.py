"""How `adana fit` shows its numbers: tables on the terminal, and everything as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from adana.cli.fit_input import Choice
from adana.laws import Curve, LawFit, MultiplierCurve
from adana.laws.loss_law import PARAMETERS

Pair = tuple[MultiplierCurve | None, MultiplierCurve]
"""An optimizer's fitted and piecewise multiplier; the first is None where no law was fitted."""


def laws_table(fit: LawFit, level: float) -> Table:
    """Return the fitted parameters with their intervals."""
    title = {"single": "L = a + b C^-c", "broken": "L = a + b C^-c + e C^-f"}[fit.form]
    table = Table(title=f"{title}   [{100 * level:g} % intervals]", title_justify="left")
    letters = PARAMETERS[: 5 if fit.form == "broken" else 3]
    table.add_column("optimizer", no_wrap=True)
    for letter in letters:
        table.add_column(letter, justify="right")
    for name, law in fit.laws.items():
        ends = fit.interval(name, level)
        values = [getattr(law, letter) for letter in letters]
        table.add_row(name, *(with_interval(v, *e) for v, e in zip(values, ends, strict=False)))
    return table


def multipliers_table(pairs: Mapping[str, Pair], baseline: str, axis: str) -> Table:
    """Return both multipliers at each size of each optimizer, and whether they are separable."""
    table = Table(title=f"M: {axis} that {baseline} needs for the same loss, over what was used",
                  title_justify="left")  # fmt: skip
    for column in ("optimizer", axis, "M fitted", "separable", "M piecewise", "separable"):
        first = column == "optimizer"
        table.add_column(column, justify="left" if first else "right", no_wrap=first)
    for name, (fitted, piecewise) in pairs.items():
        for i, compute in enumerate(piecewise.compute):
            cells = [name, f"{compute:.4g}"]
            for curve in (fitted, piecewise):
                if curve is None:
                    cells += ["-", "-"]
                    continue
                cells += [
                    with_interval(curve.value[i], curve.low[i], curve.high[i]),
                    _verdict(curve, i),
                ]
            table.add_row(*cells)
    return table


def choices_lines(choices: Sequence[Choice]) -> list[str]:
    """Say which learning rate was taken where, and what to distrust about it."""
    tuned = [choice for choice in choices if choice.tried > 1]
    lines = [
        f"{choice.optimizer} at {choice.abscissa:.4g}: lr {choice.lr:g} of {choice.tried} tried, "
        f"{choice.seeds} seed{'s' if choice.seeds > 1 else ''}"
        + ("; at the edge of its grid, a better one may lie beyond" if choice.edge else "")
        for choice in tuned
    ]
    if tuned:
        lines.insert(0, "learning rate with the lowest mean loss at each size:")
        lines.append(
            "the lowest of several noisy means is a little too low, more so where more rates or "
            "fewer seeds were tried: compare optimizers on equal grids"
        )
    return lines


def as_json(
    fit: LawFit | None, pairs: Mapping[str, Pair], curves: Sequence[Curve], level: float
) -> dict[str, Any]:
    """Return everything that was fitted, without the draws; the law is null where there is none."""
    found = [curve for pair in pairs.values() for curve in pair if curve is not None]
    return {
        "level": level,
        "law": None if fit is None else _law_as_json(fit, level),
        "curves": {
            curve.name: [{"compute": p.compute, "losses": list(p.losses)} for p in curve.points]
            for curve in curves
        },
        "multipliers": [_arrays(asdict(curve)) for curve in found],
    }


def _law_as_json(fit: LawFit, level: float) -> dict[str, Any]:
    return {
        "form": fit.form,
        "laws": {
            name: asdict(law) | {"interval": _plain(fit.interval(name, level))}
            for name, law in fit.laws.items()
        },
        "rms": fit.rms,
        "noise": asdict(fit.noise),
        "saturation": None if fit.profile is None else _arrays(asdict(fit.profile)),
        "leave_largest_out": {
            name: asdict(one) | {"error": one.error} for name, one in fit.leave_largest_out.items()
        },
        "statements": list(fit.statements),
    }


def print_statements(console: Console, lines: Sequence[str]) -> None:
    """Print one statement a line, wrapped as the terminal needs."""
    for line in lines:
        console.print(f"- {line}", markup=False, highlight=False)


def _verdict(curve: MultiplierCurve, i: int) -> str:
    if not curve.inside[i] and math.isfinite(curve.value[i]):
        return "extrapolated"
    if curve.separable[i]:
        return "yes"
    return "cannot say" if math.isnan(curve.low[i]) and math.isnan(curve.high[i]) else "no"


def with_interval(value: float, low: float, high: float) -> str:
    """Return a value with its interval, or the bound that is left of one."""
    if math.isnan(value):
        bounds = [f"> {low:.3g}"] * (not math.isnan(low)) + [f"< {high:.3g}"] * (
            not math.isnan(high)
        )
        return " and ".join(bounds) or "-"
    if math.isnan(low) and math.isnan(high):
        return f"{value:.4g}"
    ends = ["…" if math.isnan(end) else f"{end:.3g}" for end in (low, high)]
    return f"{value:.4g} \\[{ends[0]}, {ends[1]}]"


def _arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    """Return arrays as lists, with null where there is no number."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
