"""Tables of many columns that stay readable on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console, OverflowMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table


class Grid:
    """A table of text whose lines are printed as columns where they would be too long."""

    def __init__(self, title: str, *columns: str) -> None:
        self.title, self.columns = title, columns
        self.lines: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """Add a line with a cell for every column."""
        self.lines.append(cells)

    def fitting(self, console: Console) -> Table:
        """Return the table, lying on its side if the console is too narrow for it.

        Where that is too wide as well, long cells take several lines, all but those of the first
        column, which say what a line is about.
        """
        usual = self._table(self.columns, self.lines)
        if _width(console, usual).maximum <= console.width:
            return usual
        first, *others = zip(self.columns, *self.lines, strict=True)
        aside = self._table(first, others)
        if _width(console, aside).maximum <= console.width:
            return aside
        aside = self._table(first, others, fold=True)
        folded = self._table(self.columns, self.lines, fold=True)
        return min(aside, folded, key=lambda table: _broken(console, table))

    def _table(
        self, columns: Iterable[str], lines: Iterable[tuple[str, ...]], *, fold: bool = False
    ) -> Table:
        """Return the table with these headers and lines; `fold`: cells may take several lines."""
        table = Table(
            title=self.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for i, column in enumerate(columns):
            whole = i == 0 or not fold
            overflow: OverflowMethod = "ellipsis" if whole else "fold"
            table.add_column(escape(column), justify="right", no_wrap=whole, overflow=overflow)
        for line in lines:
            table.add_row(*(escape(cell) for cell in line))
        return table


def _width(console: Console, table: Table) -> Measurement:
    """Return the least and the most width that a table can use, however wide the console."""
    return console.measure(table, options=console.options.update(max_width=10_000))


def _broken(console: Console, table: Table) -> int:
    """Return by how much a table's longest words exceed the console."""
    return max(0, _width(console, table).minimum - console.width)
