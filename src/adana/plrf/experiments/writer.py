"""An experiment as files: a page that works offline, pictures that do not move, and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import altair as alt

from adana.checks import check_choice
from adana.plrf.experiments.result import Plot, Result
from adana.report import Image, save_static
from adana.report.export import as_csv
from adana.report.page import figure, page
from adana.runs import RunError, write_bytes


def write_result(result: Result, folder: Path, images: Sequence[Image] = ("svg", "png")) -> Path:
    """Write an experiment to a folder, which is made if missing; return its page.

    The page is ``NAME.html``, written last; every chart is saved in the formats `images`, every
    table and the points of the curves as CSV, under their own names. Files of the same experiment
    that were there are overwritten, and those that this one has no use for are removed.

    Raises:
        ValueError: an unknown image format.
        RunError: something cannot be written.
    """
    for suffix in images:
        check_choice("images", suffix, get_args(Image))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    path = folder / f"{result.name}.html"
    _remove(folder, _unused(result, images))
    for sheet in (*result.tables, *result.data):
        write_bytes(folder / f"{sheet.name}.csv", as_csv(sheet).encode())
    for plot in result.plots:
        for suffix in images:
            save_static(_titled(plot), folder / f"{plot.name}.{suffix}")
    write_bytes(path, render_result(result).encode())
    return path


def _unused(result: Result, images: Sequence[Image]) -> list[str]:
    """Return the names of files that this experiment could have written and does not.

    Its page too, until it is written: so a folder with a page is complete.
    """
    sheets = {sheet.name for sheet in (*result.tables, *result.data)}
    plots = {plot.name for plot in result.plots}
    used = {f"{name}.csv" for name in sheets}
    used |= {f"{name}.{suffix}" for name in plots for suffix in images}
    every = [
        f"{name}.{suffix}"
        for name in sorted(sheets | plots | set(result.sometimes))
        for suffix in ("csv", *get_args(Image))
    ]
    return [f"{result.name}.html", *(name for name in every if name not in used)]


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot remove {folder / name}: {error.strerror or error}") from error


def render_result(result: Result) -> str:
    """Return the page of an experiment."""
    drawings = [figure(*plot) for plot in result.plots]
    tables = [
        {"title": sheet.title, "columns": sheet.columns, "rows": sheet.cells}
        for sheet in result.tables
    ]
    return page(
        "experiment.html.j2",
        drawings,
        title=result.title,
        result=result,
        figures=drawings,
        tables=tables,
    )


def _titled(plot: Plot) -> alt.TopLevelMixin:
    """Return a chart that says by itself what it is."""
    chart = plot.chart.properties(
        title=alt.TitleParams(plot.title, anchor="start", fontSize=15, offset=12)
    )
    return chart.properties(background="white")
