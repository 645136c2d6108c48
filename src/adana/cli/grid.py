"""Tables of many columns that stay readable on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
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
        """Return the table, lying on its side if the console is too narrow for it."""
        usual = self._table(self.columns, self.lines)
        unbounded = console.options.update(max_width=10_000)
        if console.measure(usual, options=unbounded).maximum <= console.width:
            return usual
        first, *others = zip(self.columns, *self.lines, strict=True)
        return self._table(first, others)

    def _table(self, columns: Iterable[str], lines: Iterable[tuple[str, ...]]) -> Table:
        table = Table(
            title=self.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for column in columns:
            table.add_column(escape(column), justify="right", no_wrap=True)
        for line in lines:
            table.add_row(*(escape(cell) for cell in line))
        return table
