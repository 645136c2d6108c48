"""What all charts share: colours, axes, legends, hovering, zooming, and how a chart is saved.

Charts are Altair objects; nothing here knows what they show. Curves are told apart by a text field
of their rows, `by`, which also is what a click on the legend picks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import vl_convert

from adana.report import vega as alt
from adana.runs import write_bytes

MAX_POINTS = 400
"""Points a curve keeps."""

BASELINE_COLOR = "#7a7a7a"
PALETTE = (
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#882255", "#999933", "#aa4499", "#44aa99",
)  # fmt: skip
"""Colours that stay apart for colour-blind readers (Okabe and Ito 2008, then Tol's muted set)."""

POWER_OF_TEN = "abs(log(datum.value) / LN10 - round(log(datum.value) / LN10)) < 1e-6"
"""Whether a tick is one, for the browser."""

LEGENDS = ((13, 3, 110), (16, 2, 130), (math.inf, 1, 340))
"""Legends by the letters of the longest label: up to so many, columns, and pixels of each."""

HIDDEN = "hidden"
"""The parameter of a chart that lists the labels not to draw."""

Chart: TypeAlias = "alt.Chart | alt.LayerChart"  # a text, because Altair is not imported yet


Image = Literal["svg", "pdf", "png"]
"""What charts are saved as."""


def check_images(images: Iterable[str]) -> None:
    """Raise `ValueError` for a format that charts are not saved as."""
    unknown = [name for name in images if name not in get_args(Image)]
    if unknown:
        known = ", ".join(get_args(Image))
        raise ValueError(f"charts are saved as {known}, not as {', '.join(unknown)}")


def save_static(chart: alt.TopLevelMixin, path: Path | str) -> None:
    """Write a chart as SVG, PDF or PNG, by the path's suffix."""
    path = Path(path)
    spec, version = chart.to_dict(), vegalite_version()
    if path.suffix == ".svg":
        write_bytes(path, vl_convert.vegalite_to_svg(spec, vl_version=version).encode())
    elif path.suffix == ".pdf":
        write_bytes(path, vl_convert.vegalite_to_pdf(spec, vl_version=version))
    elif path.suffix == ".png":
        write_bytes(path, vl_convert.vegalite_to_png(spec, vl_version=version, scale=2))
    else:
        raise ValueError(f"charts are written as .svg, .pdf or .png, got {path.name!r}")


def vegalite_version() -> str:
    """Return the Vega-Lite version that Altair writes, as vl-convert names it: ``6.1``."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


@cache
def javascript() -> str:
    """Return the JavaScript that draws the charts, self-contained; takes about two seconds once."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    return str(vl_convert.javascript_bundle(snippet, vl_version=vegalite_version()))


def thin(count: int, limit: int = MAX_POINTS) -> list[int]:
    """Return at most `limit` indices below `count`, with the first and the last.

    Half of them are spaced evenly and half geometrically, for an axis that is logarithmic until
    somebody zooms into its end.
    """
    if count <= limit:
        return list(range(count))
    even = np.linspace(0, count - 1, limit // 2)
    geometric = np.geomspace(1, count, limit - limit // 2) - 1
    return [int(i) for i in np.unique(np.rint(np.concatenate([even, geometric])))]


def rounded(value: float) -> float:
    """Keep 5 significant digits: enough for any screen, and a third of the bytes."""
    return float(f"{value:.5g}") if math.isfinite(value) else value


def inline(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Return rows as the data of a chart, held in its specification."""
    from altair.utils.schemapi import debug_mode  # noqa: PLC0415 (with all of Altair: see vega)

    with debug_mode(False):  # comparing every row with the schema takes half the time of a page
        return alt.InlineData(values=rows)


def axis(
    field: str,
    title: str,
    form: str,
    scheme: Any = None,
    *,
    log: bool = True,
    zero: bool = True,
    domain: tuple[float, float] | None = None,
    decades: bool = False,
) -> Any:
    """Return the encoding of a number on an axis, x and logarithmic unless told otherwise.

    With `zero` an axis that is not logarithmic starts at zero. With `decades` the grid shows the
    powers of ten most, for axes that span many.
    """
    ends = alt.Undefined if domain is None else list(domain)
    scale = (
        alt.Scale(type="log", nice=False, padding=8, domain=ends)
        if log
        else alt.Scale(domain=ends)
        if zero
        else alt.Scale(domain=ends, zero=False, nice=False, padding=8)
    )
    return (scheme or alt.X)(
        f"{field}:Q",
        scale=scale,
        axis=alt.Axis(
            title=title,
            format=form,
            labelOverlap=True,
            tickCount=6,
            gridOpacity=alt.condition(POWER_OF_TEN, alt.value(1), alt.value(0.35))
            if decades
            else alt.Undefined,
        ),
    )


def color(
    by: str, labels: Sequence[str], *, lines: bool = True, baseline: bool = True
) -> alt.Color:
    """Give each label its colour: the first one the baseline's grey, the others the palette's.

    Without a `baseline` all have colours of the palette.
    """
    colors = [PALETTE[i % len(PALETTE)] for i in range(len(labels))]
    if baseline:
        colors = [BASELINE_COLOR, *colors[:-1]]
    scale = alt.Scale(domain=list(labels), range=colors)
    return alt.Color(f"{by}:N", scale=scale, legend=legend(labels, lines=lines))


def dash(by: str, labels: Sequence[str]) -> alt.StrokeDash:
    """Dash all but the first label, so that a curve under another one shows through its gaps."""
    dashes = [[1, 0], *([[7, 3], [2, 3], [10, 3, 2, 3]] * len(labels))]
    scale = alt.Scale(domain=list(labels), range=dashes[: len(labels)])
    return alt.StrokeDash(f"{by}:N", scale=scale, legend=legend(labels, lines=True))


def legend(labels: Sequence[str], *, lines: bool) -> alt.Legend:
    """Return the one legend that colour, shape and dash share.

    As many names stand side by side, three at most, as fit a phone without being cut.
    """
    symbol: dict[str, Any] = {"symbolType": "stroke", "symbolStrokeWidth": 3} if lines else {}
    longest = max(map(len, labels), default=0)
    columns, width = next((c, w) for most, c, w in LEGENDS if longest <= most)
    return alt.Legend(
        orient="top", title=None, columns=columns, labelLimit=width, symbolOpacity=1, **symbol
    )


def highlight(by: str, opacity: float) -> Any:
    """Fade everything but the label that was clicked in the legend."""
    return alt.condition(picked(by), alt.value(opacity), alt.value(0.08))


@cache
def picked(by: str) -> Any:
    """Return the selection of a label by a click on the legend."""
    return alt.selection_point(name="picked", fields=[by], bind="legend")


def nearest() -> Any:
    """Return the selection of the point nearest to the pointer."""
    return alt.selection_point(
        name="near", on="pointerover", nearest=True, clear="pointerout", empty=False
    )


def tooltips(row: dict[str, Any], hidden: Sequence[str] = ()) -> list[alt.Tooltip]:
    """Return the tooltip of a row: texts as they are, numbers with four digits."""
    return [
        alt.Tooltip(f"{key}:N")
        if isinstance(value, str)
        else alt.Tooltip(f"{key}:Q", format=",d" if isinstance(value, int) else ".4~g")
        for key, value in row.items()
        if key not in hidden
    ]


def layered(by: str, layers: Sequence[Any], width: int = 680, height: int = 360) -> alt.LayerChart:
    """Lay charts over each other, to zoom with the wheel and to pick labels in the legend.

    The labels listed in the parameter `HIDDEN` are left out; a page may set it.
    """
    return _layered(by, layers, zoom(), (width, height))


def side_by_side(
    by: str, layers: Sequence[Any], width: int = 680, height: int = 360
) -> alt.LayerChart:
    """Lay charts over each other whose x axis holds texts, which cannot be zoomed."""
    return _layered(by, layers, zoom("y"), (width, height))


def _layered(by: str, layers: Sequence[Any], zooming: Any, size: tuple[int, int]) -> alt.LayerChart:
    layers = [layer.transform_filter(f"indexof({HIDDEN}, datum['{by}']) < 0") for layer in layers]
    layers[0] = layers[0].add_params(picked(by), zooming)
    layers[0] = layers[0].add_params(alt.param(name=HIDDEN, value=[]))
    return styled(alt.LayerChart(layer=layers).properties(width=size[0], height=size[1]))


def styled(chart: Any) -> Any:
    """Return a chart with the sizes of text that all have."""
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal")
    return chart.configure_legend(labelFontSize=13)


def zoom(*axes: Literal["x", "y"]) -> Any:
    """Zoom on Ctrl and wheel, so that scrolling down a page does not end in a chart.

    Both axes unless some are named; only those with numbers can be zoomed.
    """
    wheel = "wheel![event.ctrlKey || event.metaKey]"
    both: tuple[Literal["x", "y"], ...] = ("x", "y")
    return alt.selection_interval(
        name="zoom", bind="scales", zoom=wheel, encodings=list(axes or both)
    )
