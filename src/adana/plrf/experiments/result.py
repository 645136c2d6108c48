"""What an experiment of the theory lab returns, and how it says how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from adana.plrf.problem import hidden_inputs
from adana.report import words
from adana.report.drawing import Chart
from adana.report.study_tables import Sheet
from adana.report.tables import Column

Item = TypeVar("Item")

FLOOR_SHARE = 0.3
"""Share of the floor in the risk from which on a sweep's optimum is about the floor."""

Progress = Callable[[float, str], None]
"""Is told the share that is done, 0 to 1, and what is being computed."""

Row = Mapping[str, Any]


class Plot(NamedTuple):
    """A chart and its words. `name` is that of its files."""

    name: str
    title: str
    caption: str
    chart: Chart


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    `findings` are sentences made of the numbers computed, the most important one first. `tables`
    stand on the page and are written as CSV; `data`, the points of the curves, only as CSV.
    `sometimes` are the names of files that other arguments would have written.
    """

    name: str
    title: str
    about: str
    settings: Mapping[str, str]
    findings: tuple[str, ...]
    plots: tuple[Plot, ...]
    tables: tuple[Sheet, ...] = ()
    data: tuple[Sheet, ...] = ()
    sometimes: tuple[str, ...] = ()


def silent(share: float, what: str) -> None:
    """Show no progress."""


def tracked(
    items: Sequence[Item],
    progress: Progress,
    what: Callable[[Item], str],
    part: tuple[float, float] = (0.0, 1.0),
) -> Iterator[Item]:
    """Go through `items` and say which one is next; they are the `part` of the whole work."""
    start, end = part
    for i, item in enumerate(items):
        progress(start + (end - start) * i / len(items), what(item))
        yield item


def table(name: str, title: str, columns: Mapping[str, str], rows: Sequence[Row]) -> Sheet:
    """Return rows as a table; `columns` says of each key, in order, what it means."""
    layout = tuple(
        Column(key, text, partial(_cell, key), number=i > 0)
        for i, (key, text) in enumerate(columns.items())
    )
    return Sheet(name, title, layout, tuple(rows), lambda row: {key: row[key] for key in columns})


def points(name: str, title: str, rows: Sequence[Row]) -> Sheet:
    """Return the points of curves, as numbers alone."""
    return Sheet(name, title, (), tuple(rows), dict)


def powers_of_ten(first: int, last: int, per_decade: int = 1) -> list[int]:
    """Return the horizons from `first` on, evenly spaced in their logarithm, and `last` itself.

    Raises:
        ValueError: `last` is below `first`.
    """
    if last < first:
        raise ValueError(f"steps must be at least {first}, got {last}")
    count = math.floor(per_decade * math.log10(last / first) + 1e-9)
    even = [round(first * 10 ** (i / per_decade)) for i in range(count + 1)]
    return even if even[-1] == last else [*even, last]


def power_of_ten(value: float) -> str:
    """Return ``1e7`` for a power of ten, and other numbers in three digits.

    >>> power_of_ten(10_000_000), power_of_ten(250_000)
    ('1e7', '2.5e+05')
    """
    exponent = round(math.log10(value))
    return f"1e{exponent}" if math.isclose(value, 10.0**exponent) else f"{value:.3g}"


def span_text(span: tuple[float, float]) -> str:
    """Return ``1e2-1e3`` for a decade."""
    return f"{power_of_ten(span[0])}-{power_of_ten(span[1])}"


def size_in_words(dimension: int) -> str:
    """Return the size of a problem of which no matrix is drawn."""
    hidden = hidden_inputs(dimension, None)
    return f"{dimension:,} parameters, {hidden:,} hidden inputs, nothing drawn"


def floor_caution(share: float, horizon: int) -> tuple[str, ...]:
    """Warn where the floor is so much of the risk that what is best says little about speed."""
    if share < FLOOR_SHARE:
        return ()
    return (
        f"After {horizon:,} steps the floor is {share:.0%} of the lowest risk, so what is best "
        "there says little about speed: weaker momentum wins once nothing is left to learn. Take "
        "fewer steps or a larger d.",
    )


def memory_caution(who: str, delta: float, needed: float, exponent: float) -> str:
    """Say that a memory is too short for an exponent in time (`adana.plrf.clocks.needed_delta`)."""
    return (
        f"{who}: delta = {delta:g} is not above {needed:.2f}: the memory is too short for the "
        f"t^-{exponent:.3f} of theory, which is not compared; take a larger delta."
    )


def _cell(key: str, row: Row) -> str:
    value = row[key]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return words.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else words.short(value)
