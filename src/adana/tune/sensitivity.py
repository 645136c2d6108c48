"""Which hyperparameters need a rule: those for which no single value is good at every scale.

The set of near-optimal values of a scale is all within `delta2` of its best. A hyperparameter is
insensitive if one value lies in the sets of all scales, and sensitive if none does although values
were tried at all of them (spec/peers_harness section 2.2; arXiv 2509.02046).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adana.tune.scale import Scale
from adana.tune.sweep import Sweep

Verdict = Literal["insensitive", "sensitive", "unknown"]


@dataclass(frozen=True)
class Sensitivity:
    """What several scales say about one hyperparameter."""

    name: str
    verdict: Verdict
    common: tuple[Any, ...]
    """Values that are near-optimal at every scale."""
    optima: Mapping[str, Any]
    """The best value by the scale's name."""
    near_optimal: Mapping[str, tuple[Any, ...]]
    """The values within delta2 of it, by the scale's name."""
    cost: float
    """What the best single value costs in loss at the scale where it is worst; NaN if no value was
    tried at all scales."""
    spread: float
    """What the worst value tried, of those that trained, costs at most: how much the loss cares."""
    moved_by: tuple[Literal["data", "model"], ...]
    """What moves the optimum: sets of scales that differ in nothing else have no common value."""
    statement: str
    """In words."""


Sweeps = Mapping[Scale, Mapping[str, Sweep]]
"""The last sweep of every hyperparameter, by scale and name."""


def sensitivities(sweeps: Sweeps, delta2: float) -> tuple[Sensitivity, ...]:
    """Return the verdict on every hyperparameter that was swept at all scales."""
    names: dict[str, None] = {}
    for own in sweeps.values():
        names |= dict.fromkeys(own)
    shared = [name for name in names if all(name in own for own in sweeps.values())]
    return tuple(
        _judge(name, {scale: own[name] for scale, own in sweeps.items()}, delta2) for name in shared
    )


def common_values(sweeps: Mapping[Scale, Sweep], delta2: float) -> tuple[Any, ...]:
    """Return the values that are near-optimal at every scale."""
    sets = [own.near_optimal(delta2) for own in sweeps.values()]
    return tuple(value for value in sets[0] if all(value in other for other in sets[1:]))


def _judge(name: str, sweeps: Mapping[Scale, Sweep], delta2: float) -> Sensitivity:
    common = common_values(sweeps, delta2)
    tried = [
        value
        for value in next(iter(sweeps.values())).values
        if all(value in own.values for own in sweeps.values())
    ]
    worst = {value: max(_excess(own, value) for own in sweeps.values()) for value in tried}
    cost = min(worst.values(), default=math.nan)
    finite = [
        loss - own.loss for own in sweeps.values() for loss in own.losses if math.isfinite(loss)
    ]
    verdict: Verdict = "unknown"
    if len(sweeps) > 1 and common:
        verdict = "insensitive"
    elif len(sweeps) > 1 and tried:
        verdict = "sensitive"
    moved_by = _movers(sweeps, delta2) if verdict == "sensitive" else ()
    return Sensitivity(
        name=name,
        verdict=verdict,
        common=common,
        optima={scale.name: own.best_value for scale, own in sweeps.items()},
        near_optimal={scale.name: own.near_optimal(delta2) for scale, own in sweeps.items()},
        cost=cost,
        spread=max(finite, default=math.nan),
        moved_by=moved_by,
        statement=f"{name}: "
        + _state(verdict, common, worst, moved_by, scales=len(sweeps), delta2=delta2),
    )


def _excess(own: Sweep, value: Any) -> float:
    return own.losses[own.values.index(value)] - own.loss


def _movers(sweeps: Mapping[Scale, Sweep], delta2: float) -> tuple[Literal["data", "model"], ...]:
    """Return what the scales differ in where the optimum moved, if it is only one thing."""
    found: dict[Literal["data", "model"], None] = {}
    for one, other in itertools.combinations(sweeps, 2):
        if common_values({s: sweeps[s] for s in (one, other)}, delta2):
            continue
        if one.shares("parameters", other):
            found["data"] = None
        elif one.shares("tokens", other):
            found["model"] = None
    return tuple(found)


def _state(
    verdict: Verdict,
    common: tuple[Any, ...],
    worst: Mapping[Any, float],
    moved_by: tuple[str, ...],
    *,
    scales: int,
    delta2: float,
) -> str:
    if scales < 2:
        return "one scale cannot tell whether its optimum moves"
    if verdict == "insensitive":
        values = ", ".join(map(str, common))
        return (
            f"insensitive, {values} near-optimal at all {scales} scales: less than {delta2:.2g} "
            "from the best"
        )
    if verdict == "unknown":
        return f"cannot tell, no value was tried at all {scales} scales"
    value = min(worst, key=lambda v: worst[v])
    why = {
        ("data",): "more data moves it",
        ("model",): "a larger model moves it",
        (): "data or model moves it: no two scales between which it moved share one of them",
    }.get(moved_by, "both data and model move it")
    price = (
        f"the best single value {value} costs up to {worst[value]:.4g}"
        if math.isfinite(worst[value])
        else "every single value diverges at some scale"
    )
    return f"sensitive, {price}; {why}"
