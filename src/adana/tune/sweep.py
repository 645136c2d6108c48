"""One hyperparameter along its grid, all others held: the step of coordinate descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adana.tune.space import Parameter
from adana.tune.trial import Config

Losses = Callable[[Mapping[str, Config]], Mapping[str, float]]
"""Gives the loss of every named configuration: `Evaluator.losses`."""
MAX_EXTENSIONS = 12
"""Values tried beyond a grid at most, on both sides together."""


@dataclass(frozen=True)
class Sweep:
    """What became of every value of one hyperparameter."""

    name: str
    values: tuple[Any, ...]
    """In the order of the scale."""
    losses: tuple[float, ...]
    """Infinite where the training diverged."""
    before: Any
    """The baseline's value."""
    edge: str = ""
    """Empty if the best value has a worse one on either side, or has no order. Else why it has not:
    "lower limit", "higher limit" (of what makes sense), "flat lower", "flat higher" (going on
    gained less than delta1), "lower", "higher" (the search gave up)."""

    @property
    def best(self) -> Any:
        """The value with the lowest loss; the baseline's where it is as good."""
        return self.best_value if self.gain > 0 else self.before

    @property
    def best_value(self) -> Any:
        """The first value with the lowest loss."""
        return self.values[self.losses.index(self.loss)]

    @property
    def loss(self) -> float:
        """The lowest loss."""
        return min(self.losses)

    @property
    def gain(self) -> float:
        """How much lower the best value's loss is than the baseline's."""
        if self.loss == self.loss_before:
            return 0.0
        return self.loss_before - self.loss

    @property
    def loss_before(self) -> float:
        """The loss of the baseline."""
        return self.losses[self.values.index(self.before)]

    def near_optimal(self, delta2: float) -> tuple[Any, ...]:
        """Return the values whose loss is within `delta2` of the best."""
        if math.isinf(self.loss):
            return ()
        several = zip(self.values, self.losses, strict=True)
        return tuple(value for value, loss in several if loss <= self.loss + delta2)


def sweep(losses: Losses, base: Config, parameter: Parameter, delta1: float) -> Sweep:
    """Try every value of a hyperparameter around a configuration, as one batch.

    A best value on the edge of the grid makes the grid longer, until a worse value lies beyond it,
    or the hard limit is reached, or two further values together gained less than `delta1`.
    """
    name = parameter.name
    found: dict[Any, float] = {}

    def try_out(*values: Any) -> None:
        configs = {label(name, value): {**base, name: value} for value in values}
        results = losses(configs)
        found.update({value: results[label(name, value)] for value in values})

    order = list(parameter.values(base[name]))
    try_out(*order)
    edge = ""
    gains: dict[bool, list[float]] = {False: [], True: []}
    for left in range(MAX_EXTENSIONS, -1, -1):
        higher = _side(order, found) if parameter.ordered else None
        if higher is None:
            edge = ""
            break
        edge = "higher" if higher else "lower"
        value = parameter.beyond(order[-1 if higher else 0], higher)
        if value is None:
            edge = f"{edge} limit"
            break
        if len(gains[higher]) >= 2 and sum(gains[higher][-2:]) < delta1:
            edge = f"flat {edge}"
            break
        if left:
            before = min(found.values())
            try_out(value)
            order.insert(len(order) if higher else 0, value)
            gains[higher].append(before - found[value])
    return Sweep(name, tuple(order), tuple(found[v] for v in order), base[name], edge)


def label(name: str, value: Any) -> str:
    """Name a trial for people.

    >>> label("lr", 0.002)
    'lr=0.002'
    """
    return f"{name}={value}"


def _side(order: list[Any], found: Mapping[Any, float]) -> bool | None:
    """Return on which edge the best value lies, True for the higher one; None if on neither."""
    best = min(found[value] for value in order)
    if math.isinf(best):
        return None
    if found[order[-1]] == best and all(found[value] > best for value in order[:-1]):
        return True
    if found[order[0]] == best and all(found[value] > best for value in order[1:]):
        return False
    return None
