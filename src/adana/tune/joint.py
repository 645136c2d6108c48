"""Two hyperparameters at once around an optimum: does moving both help where moving each did not?

One-at-a-time search misses couplings, most of all of the learning rate with decay and with batch
size (asked for by the reviewers of arXiv 2509.02046). Three by three values around the optimum, of
which the cross is known from the descent, show it: four more trainings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adana.tune.space import Parameter
from adana.tune.sweep import Losses, label
from adana.tune.trial import Config


@dataclass(frozen=True)
class JointCheck:
    """Losses of up to 3 x 3 values of two hyperparameters around an optimum."""

    names: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    """Of either hyperparameter, ascending."""
    losses: tuple[tuple[float, ...], ...]
    """A row for each value of the first."""
    centre: tuple[Any, Any]
    """The values of the optimum that was checked."""
    lowest: tuple[Any, Any]
    """The pair with the lowest loss."""
    best: tuple[Any, Any]
    """The best pair: the centre unless another gains more than delta1."""
    gain: float
    """How much lower than the centre the lowest loss is."""
    interaction: float | None
    """The mixed second difference (L++ - L+- - L-+ + L--) / 4 in nats: 0 if the two do not depend
    on each other, negative if they want to move together, positive if against each other. None
    where a corner is missing or diverged."""
    verdict: str
    """In words."""

    @property
    def moved(self) -> bool:
        """Whether another pair is better than the centre by more than delta1."""
        return self.best != self.centre

    @property
    def changes(self) -> dict[str, Any]:
        """What the pair with the lowest loss has that the centre has not."""
        both = zip(self.names, self.lowest, self.centre, strict=True)
        return {name: value for name, value, own in both if value != own}


def check_jointly(
    losses: Losses, base: Config, first: Parameter, second: Parameter, delta1: float
) -> JointCheck:
    """Train the neighbours of `base` in two hyperparameters, and say whether it is the best.

    Raises:
        ValueError: one of them has no order, or both are the same.
    """
    if not (first.ordered and second.ordered) or first.name == second.name:
        raise ValueError(
            f"a joint check needs two different hyperparameters on a scale, "
            f"got {first.name} and {second.name}"
        )
    centre = (base[first.name], base[second.name])
    rows, columns = _around(first, centre[0]), _around(second, centre[1])
    names = {
        (a, b): f"{label(first.name, a)} {label(second.name, b)}" for a in rows for b in columns
    }
    configs = {text: {**base, first.name: a, second.name: b} for (a, b), text in names.items()}
    found = losses(configs)
    table = {pair: found[text] for pair, text in names.items()}
    lowest = min(table, key=lambda pair: table[pair])
    gain = table[centre] - table[lowest] if table[lowest] < table[centre] else 0.0
    best = lowest if gain > delta1 else centre
    interaction = _interaction(table, rows, columns)
    return JointCheck(
        names=(first.name, second.name),
        values=(rows, columns),
        losses=tuple(tuple(table[a, b] for b in columns) for a in rows),
        centre=centre,
        lowest=lowest,
        best=best,
        gain=gain,
        interaction=interaction,
        verdict=_verdict((first.name, second.name), lowest, gain, delta1, interaction),
    )


def _around(parameter: Parameter, value: Any) -> tuple[Any, ...]:
    """Return the neighbours of a value, on its grid or beyond, with itself in the middle."""
    known = parameter.values(value)
    place = known.index(value)
    below = known[place - 1] if place else parameter.beyond(value, False)
    above = known[place + 1] if place + 1 < len(known) else parameter.beyond(value, True)
    return tuple(v for v in (below, value, above) if v is not None)


def _interaction(
    table: Mapping[tuple[Any, Any], float], rows: tuple[Any, ...], columns: tuple[Any, ...]
) -> float | None:
    if len(rows) < 3 or len(columns) < 3:
        return None
    low, high = rows[0], rows[-1]
    left, right = columns[0], columns[-1]
    mixed = (table[high, right] - table[high, left] - table[low, right] + table[low, left]) / 4
    return mixed if math.isfinite(mixed) else None


def _verdict(
    names: tuple[str, str],
    lowest: tuple[Any, Any],
    gain: float,
    delta1: float,
    interaction: float | None,
) -> str:
    pair = f"{label(names[0], lowest[0])}, {label(names[1], lowest[1])}"
    if gain > delta1:
        return (
            f"{names[0]} and {names[1]}: {pair} gains {gain:.4g}, more than delta1 {delta1:.2g}: "
            "one at a time had not found it"
        )
    if interaction is None:
        coupled = ""
    elif abs(interaction) <= delta1:
        coupled = f"; they hardly depend on each other here ({interaction:+.2g})"
    else:
        way = "together" if interaction < 0 else "against each other"
        coupled = f"; they are coupled and want to move {way} ({interaction:+.2g})"
    return (
        f"{names[0]} and {names[1]}: no neighbouring pair gains more than delta1 {delta1:.2g} "
        f"over the optimum found one at a time{coupled}"
    )
