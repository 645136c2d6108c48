"""The compute multiplier M over sizes, by two estimators, each with its interval.

``M(C) = C_base / C`` where the baseline needs ``C_base`` for the loss that the candidate reaches
with ``C`` (spec/scaling_laws section 4). *Fitted* reads both losses off laws fitted to all sizes:
steady between sizes, and worth as much as the law. *Piecewise* joins the baseline's own losses by
straight lines in (log C, log L): no law, no extrapolation unless asked for. They fail differently,
so they are shown together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adana.laws.invert import log_compute_at
from adana.laws.loss_law import LawFit
from adana.laws.multiplier import LEVEL
from adana.laws.multiplier_result import MultiplierCurve, interval_excludes_one, separability
from adana.laws.piecewise import piecewise_multiplier

__all__ = ["MultiplierCurve", "fitted_multiplier", "multiplier_of_laws", "piecewise_multiplier"]

Floats = NDArray[np.float64]

NAMED = 8
"""Computes that a statement names before it only counts them."""
GRID = 60
"""Computes of a fitted multiplier's curve unless the caller names them."""


def fitted_multiplier(
    fit: LawFit,
    baseline: str,
    name: str,
    computes: ArrayLike | None = None,
    level: float = LEVEL,
) -> MultiplierCurve:
    """Return M of the fitted laws at `computes`, by default a log grid over the shared range.

    The interval holds the middle `level` of the bootstrap draws, each inverted with its own laws.
    """
    for wanted in (baseline, name):
        if wanted not in fit.laws:
            raise ValueError(f"no law of {wanted!r} was fitted, only of {', '.join(fit.laws)}")
    low_end, high_end = shared_range(fit.ranges[baseline], fit.ranges[name])
    at = np.geomspace(low_end, high_end, GRID) if computes is None else np.array(computes, float)
    laws = np.array([_row(fit, baseline), _row(fit, name)])
    value = multiplier_of_laws(laws[0], laws[1], at)
    draws = multiplier_of_laws(fit.replicates[baseline], fit.replicates[name], at)
    low, high = _quantiles(draws, level)
    inside = _reached(at, value, fit.ranges[baseline], fit.ranges[name])
    shown = np.where(np.isfinite(value), value, np.nan)
    separable = interval_excludes_one(low, high)
    found = MultiplierCurve(
        name, baseline, "fitted", at, shown, low, high, inside, separable, level, ()
    )
    return replace(found, statements=_statements(found, has_draws=len(fit.replicates[name]) > 0))


def multiplier_of_laws(baseline: Floats, candidate: Floats, computes: Floats) -> Floats:
    """Return M of laws (..., 5) at `computes` (n,), shape (..., n); infinite out of reach."""
    a, b, c, e, f = np.moveaxis(candidate[..., None, :], -1, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        losses = a + b * computes**-c + e * computes**-f
        found: Floats = np.exp(log_compute_at(baseline[..., None, :], losses) - np.log(computes))
    return found


def shared_range(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return the computes that both ranges hold, or all of them where they do not overlap."""
    low, high = max(first[0], second[0]), min(first[1], second[1])
    if low < high:
        return low, high
    return min(first[0], second[0]), max(first[1], second[1])


def _row(fit: LawFit, name: str) -> tuple[float, ...]:
    law = fit.laws[name]
    return law.a, law.b, law.c, law.e, law.f


def _quantiles(draws: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the interval of each column; NaN where open or without draws."""
    if not len(draws):
        return np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    tail = (1 - level) / 2
    ordered = np.where(np.isnan(draws), np.inf, draws)
    low = np.quantile(ordered, tail, axis=0, method="lower")
    high = np.quantile(ordered, 1 - tail, axis=0, method="higher")
    return np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)


def _reached(
    at: Floats, value: Floats, baseline: tuple[float, float], own: tuple[float, float]
) -> NDArray[np.bool_]:
    """Whether the candidate ran near each compute and the baseline near M times it."""
    slack = 1 + 1e-9
    needed = at * value
    return (
        (at >= own[0] / slack)
        & (at <= own[1] * slack)
        & (needed >= baseline[0] / slack)
        & (needed <= baseline[1] * slack)
    )


def _statements(found: MultiplierCurve, *, has_draws: bool) -> tuple[str, ...]:
    said = []
    if has_draws:
        said.append(f"fitted: {separability(found)}")
    else:
        said.append(f"fitted: {found.name} has no interval: the fit has no bootstrap draws")
    if not found.inside.all():
        beyond = found.compute[~found.inside]
        where = ", ".join(f"{compute:.3g}" for compute in beyond)
        if len(beyond) > NAMED:
            where = f"{len(beyond)} of {len(found.compute)} computes"
        said.append(
            f"fitted: the multiplier of {found.name} at compute {where} lies outside of what was "
            "measured of one of the two, and is worth as much as the law"
        )
    return tuple(said)
