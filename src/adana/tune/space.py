"""What a search may try: hyperparameters with a grid, a baseline value, and a way beyond the grid.

Which scale a hyperparameter lives on decides what comes next after the edge of its grid: twice the
learning rate, a step more of a fraction, half the distance to 1 of an average's decay rate. An
optimum on an edge is no optimum yet, so every scale but `Choice` can go on, up to a hard limit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from adana.checks import check_integer, check_range

DIGITS = 6
"""Significant digits of a value made here: values of neighbouring grids stay equal."""

MAX_BRIDGE = 64
"""Values between a grid and a baseline far from it at most."""


def tidy(value: float) -> float:
    """Round to `DIGITS` significant digits, so that a value can be typed again."""
    return float(f"{value:.{DIGITS}g}")


class Parameter(Protocol):
    """One hyperparameter of a search."""

    @property
    def name(self) -> str:
        """Its key in the configurations that the objective gets."""

    @property
    def grid(self) -> tuple[Any, ...]:
        """The values tried first, ascending where they have an order."""

    @property
    def baseline(self) -> Any:
        """Where the search begins; need not be on the grid."""

    @property
    def ordered(self) -> bool:
        """Whether the values have an order, and so an edge."""

    def beyond(self, value: Any, higher: bool) -> Any | None:
        """Return the next value above or below `value`, or None at the hard limit."""

    def values(self, current: Any) -> tuple[Any, ...]:
        """Return the grid with `current` in its place."""

    def allows(self, value: Any) -> bool:
        """Return whether a value makes sense here, on the grid or not."""

    def sliding(self, values: Sequence[Any], centre: Any) -> Parameter:
        """Return this with a grid of the same length, cut out of `values` around `centre`."""


@dataclass(frozen=True)
class _Ordered:
    name: str
    grid: tuple[float, ...]
    baseline: float
    low: float = -math.inf
    """Smallest value that makes sense."""
    high: float = math.inf
    """Largest value that makes sense."""

    def __post_init__(self) -> None:
        if not self.grid:
            raise ValueError(f"the grid of {self.name} is empty, expected at least one value")
        for value in (*self.grid, self.baseline):
            check_range(self.name, value, low=self.low, high=self.high)
        object.__setattr__(self, "grid", tuple(sorted(set(self.grid))))

    @property
    def ordered(self) -> bool:
        """True: this scale has an edge."""
        return True

    def next_to(self, value: float, higher: bool) -> float:
        """Return the next value, whatever the limits say."""
        raise NotImplementedError

    def beyond(self, value: float, higher: bool) -> float | None:
        """Return the next value above or below `value`, or None at the hard limit."""
        new = self.next_to(value, higher)
        return new if self.low <= new <= self.high and new != value else None

    def allows(self, value: float) -> bool:
        """Return whether a value lies within the limits."""
        return self.low <= value <= self.high

    def values(self, current: float) -> tuple[float, ...]:
        """Return the grid with `current` in its place."""
        return tuple(sorted({*self.grid, current}))

    def sliding(self, values: Sequence[float], centre: float) -> Self:
        """Return this with a grid of the same length, cut out of `values` around `centre`."""
        own = sorted({*values, centre})
        size = min(len(own), max(len(self.grid), 3))
        first = min(max(own.index(centre) - size // 2, 0), len(own) - size)
        return dataclasses.replace(self, grid=tuple(own[first : first + size]))

    def starting_at(self, baseline: float) -> Self:
        """Return this with another baseline value, to which the grid slides if it lies beyond.

        Beyond a limit, the baseline is the limit: what was best elsewhere may make no sense here.
        """
        baseline = min(max(baseline, self.low), self.high)
        own = dataclasses.replace(self, baseline=baseline)
        inside = self.grid[0] <= baseline <= self.grid[-1]
        return own if inside else own.sliding(self._bridge(baseline), baseline)

    def _bridge(self, baseline: float) -> tuple[float, ...]:
        """Return the grid, gone on with until `baseline` lies between two of its values."""
        higher = baseline > self.grid[-1]
        longer = list(self.grid)
        for _ in range(MAX_BRIDGE):
            value = self.beyond(longer[-1] if higher else longer[0], higher)
            if value is None:
                break
            longer.insert(len(longer) if higher else 0, value)
            if (value > baseline) if higher else (value < baseline):
                break
        return tuple(longer)


@dataclass(frozen=True)
class Log(_Ordered):
    """A positive number on a logarithmic scale, say a learning rate. 0 may end the grid below."""

    low: float = 0.0
    ratio: float = 2.0
    """Of neighbouring values beyond the grid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(f"ratio of {self.name}", self.ratio, low=1.0, low_open=True)
        check_range(f"low of {self.name}", self.low, low=0.0)

    def next_to(self, value: float, higher: bool) -> float:
        """Return `ratio` times more or less."""
        return tidy(value * self.ratio if higher else value / self.ratio)


@dataclass(frozen=True)
class Float(_Ordered):
    """A number on a linear scale, say the final learning rate as a fraction of the peak."""

    step: float = 0.1
    """Between neighbouring values beyond the grid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(f"step of {self.name}", self.step, low=0.0, low_open=True)

    def next_to(self, value: float, higher: bool) -> float:
        """Return one `step` more or less."""
        return tidy(value + self.step if higher else value - self.step)


@dataclass(frozen=True)
class Beta(_Ordered):
    """The decay rate of an average, in [0, 1): its distance to 1 is what is on a log scale."""

    low: float = 0.0
    high: float = 0.99999
    ratio: float = 2.0
    """Of the distances to 1 of neighbouring values beyond the grid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(f"ratio of {self.name}", self.ratio, low=1.0, low_open=True)

    def next_to(self, value: float, higher: bool) -> float:
        """Return the rate whose distance to 1 is `ratio` times less or more."""
        distance = 1 - value
        return tidy(1 - tidy(distance / self.ratio if higher else distance * self.ratio))


@dataclass(frozen=True)
class Integer(_Ordered):
    """A whole number: on a logarithmic scale if it has a `ratio`, else on a linear one."""

    ratio: int | None = None
    """Of neighbouring values beyond the grid."""
    step: int = 1
    """Between neighbouring values beyond the grid, without a ratio."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for value in (*self.grid, self.baseline):
            check_range(self.name, value)
            if value != int(value):
                raise ValueError(f"{self.name} must be a whole number, got {value!r}")
        check_integer(f"step of {self.name}", self.step, low=1)
        if self.ratio is not None:
            check_integer(f"ratio of {self.name}", self.ratio, low=2)

    def next_to(self, value: float, higher: bool) -> int:
        """Return `ratio` times more or less, or one `step` more or less."""
        whole = int(value)
        if self.ratio is None:
            return whole + self.step if higher else whole - self.step
        return whole * self.ratio if higher else whole // self.ratio


@dataclass(frozen=True)
class Choice:
    """One of several values without an order, say a schedule's name. It has no edge.

    The values are text, numbers, truth values or None.
    """

    name: str
    grid: tuple[Any, ...]
    baseline: Any

    def __post_init__(self) -> None:
        if self.baseline not in self.grid:
            raise ValueError(
                f"the baseline of {self.name} must be one of its choices "
                f"{', '.join(map(repr, self.grid))}, got {self.baseline!r}"
            )

    @property
    def ordered(self) -> bool:
        """False: there is no next value."""
        return False

    def beyond(self, value: Any, higher: bool) -> None:
        """Return None: there is nothing next to a choice."""

    def values(self, current: Any) -> tuple[Any, ...]:
        """Return all choices."""
        return self.grid if current in self.grid else (*self.grid, current)

    def allows(self, value: Any) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.grid

    def sliding(self, values: Sequence[Any], centre: Any) -> Choice:
        """Return this: choices do not slide."""
        return self

    def starting_at(self, baseline: Any) -> Choice:
        """Return this with another baseline value."""
        return dataclasses.replace(self, baseline=baseline)


Space = Sequence[Log | Float | Beta | Integer | Choice]


def baseline_of(space: Space) -> dict[str, Any]:
    """Return the baseline value of every hyperparameter by name.

    Raises:
        ValueError: two hyperparameters have one name, or there is none at all.
    """
    names = [parameter.name for parameter in space]
    if not names:
        raise ValueError("the search space is empty: name at least one hyperparameter")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the search space has {', '.join(twice)} more than once")
    return {parameter.name: parameter.baseline for parameter in space}


def starting_at(space: Space, values: Mapping[str, Any]) -> Space:
    """Return the space with the baseline values of `values`, those it does not name unchanged."""
    return tuple(
        parameter.starting_at(values[parameter.name]) if parameter.name in values else parameter
        for parameter in space
    )


def aligned_grid(
    value: float, ratio: float, anchor: float, below: int, above: int
) -> tuple[float, ...]:
    """Return `anchor * ratio^k` around the one nearest to `value`.

    Grids of several scales with the same anchor and ratio share values, without which nobody can
    say that one value is good at all of them.

    >>> aligned_grid(0.0037, 2, 1e-3, below=2, above=1)
    (0.001, 0.002, 0.004, 0.008)
    """
    nearest = round(math.log(value / anchor, ratio))
    return tuple(tidy(anchor * ratio**k) for k in range(nearest - below, nearest + above + 1))
