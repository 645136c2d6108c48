"""Tables on consoles of any width."""

import io

from rich.console import Console

from adana.cli.grid import Grid


def printed(grid: Grid, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(grid.fitting(console))
    return console.file.getvalue().splitlines()


def test_a_table_that_fits_neither_way_folds_long_cells_and_keeps_its_first_column():
    grid = Grid("Slopes", "method", "theory", "confirmed", "1e2-1e3")
    for method in ("SGD", "SGD-M", "DANA-constant", "DANA-decaying"):
        grid.add(method, "-1.5, then -3, then -1", "yes", "-1.618")
    lines = printed(grid, 60)
    text = "\n".join(lines)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert all(len(line) <= 60 for line in lines)
    for whole in ("method", "confirmed", "DANA-constant", "DANA-decaying", "1e2-1e3", "-1.618"):
        assert whole in text


def test_of_many_lines_none_is_broken_for_the_sake_of_lying_on_its_side():
    grid = Grid("Runs", "run", "what it is about")
    for i in range(30):
        grid.add(f"number-{i}", "some words that are longer than the console is wide")
    text = "\n".join(printed(grid, 40))
    assert all(f"number-{i} " in text for i in range(30))
