"""The pictures of a comparison, as Altair charts: one definition for the page and for papers.

Every chart takes a `Comparison` and returns a chart, or None where the runs hold nothing to draw.
A label keeps its colour over all charts. Curves are thinned, so that the page stays small; the
full record is in the run directories.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from adana.laws import mean_and_standard_error
from adana.report import words
from adana.report.compare import Comparison, Group, Point, Record
from adana.runs import write_bytes

MAX_POINTS = 400
"""Points a curve keeps."""

HOVER_POINTS = 80
"""Points a curve offers to the pointer."""

BASELINE_COLOR = "#7a7a7a"
PALETTE = (
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#882255", "#999933", "#aa4499", "#44aa99",
)  # fmt: skip
"""Colours that stay apart for colour-blind readers (Okabe and Ito 2008, then Tol's muted set)."""

SCHEDULES = {
    "lr": "learning rate",
    "ema_m": "1 \N{MINUS SIGN} β₁",
    "ema_v": "1 \N{MINUS SIGN} β₂",
    "momentum": "multiplier on m",
    "decay": "fraction removed a step",
}
"""The schedules that are drawn: key in ``metrics.jsonl`` and what it is."""

Chart = alt.Chart | alt.LayerChart
Curves = Sequence[tuple[Record, tuple[Point, ...]]]


def validation_chart(comparison: Comparison) -> alt.LayerChart | None:
    """Return validation loss against tokens at the main horizon, all optimizers and seeds."""
    curves = [(record, record.evaluations) for record in _main_records(comparison)]
    return _loss_chart(comparison, curves, "validation loss (nats a token)")


def training_chart(comparison: Comparison) -> alt.LayerChart | None:
    """Return training loss against tokens at the main horizon, all optimizers and seeds."""
    curves = [(record, record.training) for record in _main_records(comparison)]
    return _loss_chart(comparison, curves, "training loss (nats a token)")


def schedule_charts(comparison: Comparison) -> dict[str, alt.LayerChart]:
    """Return the schedules the optimizers really used, a small chart each, by key.

    They come from the first seed of each label. A logarithmic axis cannot show zero, so a schedule
    that is zero throughout (no weight decay, say) has no line.
    """
    charts = {}
    for key, name in SCHEDULES.items():
        rows = [
            {"optimizer": group.label, "step": step, "value": _round(value)}
            for group in comparison.main
            for step, value in _schedule(group.records[0], key)
        ]
        if rows:
            charts[key] = _schedule_chart(comparison, rows, name)
    return charts


def multiplier_chart(comparison: Comparison) -> alt.LayerChart | None:
    """Return final loss against compute: the baseline's curve and what it says of the others.

    The dotted line from a candidate runs, at the candidate's loss, to the baseline's curve: its
    length is the compute multiplier. None unless the baseline finished at several horizons.
    """
    rows = [row for group in comparison.groups if (row := _horizon(group))]
    curve = [row for row in rows if row["optimizer"] == comparison.baseline]
    if len(curve) < 2:
        return None
    color = _color(comparison, lines=False)
    largest = max(row["compute"] for row in rows)
    x = _axis("compute", "compute (PFH, 3.6e18 FLOP)", "~g" if largest >= 0.01 else "~e")
    y = _axis("loss", "final validation loss (nats a token)", ".3~f", scheme=alt.Y)
    base = alt.Chart(_data(rows)).encode(color=color, opacity=_highlight(1.0))
    line = alt.Chart(_data(curve)).mark_line(strokeWidth=2).encode(x, y, color=color)
    errors = base.mark_rule(strokeWidth=2).encode(x, y=alt.Y("low:Q"), y2="high:Q")
    points = base.mark_point(filled=True, size=90).encode(
        x, y, shape=_shape(comparison), tooltip=_tooltips(rows[0])
    )
    layers = [line, errors, points]
    gaps = [row for row in rows if "matched" in row]
    if gaps:
        rules = alt.Chart(_data(gaps)).mark_rule(strokeDash=[3, 3], strokeWidth=1.5)
        layers.insert(0, rules.encode(x, y, x2="matched:Q", color=color, opacity=_highlight(1.0)))
    return _layer(layers)


def sweep_chart(comparison: Comparison) -> alt.LayerChart | None:
    """Return the final loss of every trial of the learning-rate sweep; None without a sweep."""
    rows = [
        {"optimizer": t.label, "lr": _round(t.lr), "loss": _round(t.loss)}
        for t in comparison.sweep
        if t.loss is not None
    ]
    if not rows:
        return None
    x = _axis("lr", "peak learning rate", "~g")
    y = _axis("loss", "final validation loss (nats a token)", ".3~f", scheme=alt.Y)
    base = alt.Chart(_data(rows)).encode(
        x, y, color=_color(comparison), opacity=_highlight(1.0), tooltip=_tooltips(rows[0])
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=_dash(comparison))
    return _layer([lines, base.mark_point(filled=True, size=70)])


def all_charts(comparison: Comparison) -> dict[str, Chart]:
    """Return every chart that these runs can fill, by name."""
    charts: dict[str, Chart | None] = {
        "validation": validation_chart(comparison),
        "multiplier": multiplier_chart(comparison),
        "sweep": sweep_chart(comparison),
        "training": training_chart(comparison),
    }
    found: dict[str, Chart] = {name: chart for name, chart in charts.items() if chart is not None}
    schedules = schedule_charts(comparison)
    return found | {f"schedule-{key}": chart for key, chart in schedules.items()}


def save_static(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart as PNG or SVG, by the path's suffix."""
    spec, version = chart.to_dict(), vegalite_version()
    if path.suffix == ".svg":
        write_bytes(path, vl_convert.vegalite_to_svg(spec, vl_version=version).encode())
    elif path.suffix == ".png":
        write_bytes(path, vl_convert.vegalite_to_png(spec, vl_version=version, scale=2))
    else:
        raise ValueError(f"charts are written as .png or .svg, got {path.name!r}")


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


def _main_records(comparison: Comparison) -> list[Record]:
    return [record for group in comparison.main for record in group.records]


def _loss_chart(comparison: Comparison, curves: Curves, title: str) -> alt.LayerChart | None:
    """Return thin lines for seeds (dashed if the run failed) and a bold one for their mean."""
    seeds = [row for record, curve in curves for row in _curve_rows(record, curve)]
    if not seeds:
        return None
    means = [row for label in comparison.labels for row in _mean_rows(label, curves)]
    hover = [row for record, curve in curves for row in _curve_rows(record, curve, HOVER_POINTS)]
    x, y = _axis("tokens", "tokens", "~s"), _axis("loss", title, ".3~f", scheme=alt.Y)
    color = _color(comparison)
    thin_lines = (
        alt.Chart(_data(seeds))
        .mark_line(strokeWidth=1)
        .encode(
            x,
            y,
            color=color,
            detail="run:N",
            opacity=_highlight(0.55),
            strokeDash=alt.condition("datum.state == 'finished'", alt.value([]), alt.value([4, 3])),
        )
    )
    bold = alt.Chart(_data(means)).mark_line(strokeWidth=2.5)
    near = alt.selection_point(
        name="near", on="pointerover", nearest=True, clear="pointerout", empty=False
    )
    points = (
        alt.Chart(_data(hover))
        .mark_point(filled=True, size=60)
        .encode(x, y, color=color, tooltip=_tooltips(hover[0]))
        .encode(opacity=alt.condition(near, alt.value(1), alt.value(0)))
        .add_params(near)
    )
    layers = [thin_lines, bold.encode(x, y, color=color, opacity=_highlight(1.0)), points]
    return _layer(layers if means else [thin_lines, points])


def _curve_rows(
    record: Record, curve: Sequence[Point], limit: int = MAX_POINTS
) -> list[dict[str, Any]]:
    curve = [point for point in curve if point.tokens > 0 and point.loss > 0]
    return [
        {
            "optimizer": record.label,
            "run": record.name,
            "seed": record.seed,
            "state": record.state,
            "step": curve[i].step,
            "tokens": curve[i].tokens,
            "loss": _round(curve[i].loss),
        }
        for i in thin(len(curve), limit)
    ]


def _mean_rows(label: str, curves: Curves) -> list[dict[str, Any]]:
    """Return the mean over the finished seeds, where all of them have a point."""
    finished = [curve for record, curve in curves if record.label == label and record.finished]
    at: dict[int, list[float]] = {}
    for curve in finished:
        for point in curve:
            at.setdefault(point.tokens, []).append(point.loss)
    shared = sorted(tokens for tokens, losses in at.items() if len(losses) == len(finished))
    shared = [tokens for tokens in shared if tokens > 0 and min(at[tokens]) > 0]
    return [
        {"optimizer": label, "tokens": shared[i], "loss": _round(float(np.mean(at[shared[i]])))}
        for i in thin(len(shared))
    ]


def _schedule(record: Record, key: str) -> Iterable[tuple[int, float]]:
    points = [
        (step, values[key])
        for step, values in record.schedule
        if step > 0 and values.get(key, 0.0) > 0
    ]
    return [points[i] for i in thin(len(points))]


def _schedule_chart(
    comparison: Comparison, rows: list[dict[str, Any]], title: str
) -> alt.LayerChart:
    x, y = _axis("step", "step", "~s"), _axis("value", title, "~g", scheme=alt.Y)
    lines = (
        alt.Chart(_data(rows))
        .mark_line(strokeWidth=2)
        .encode(x, y, color=_color(comparison), opacity=_highlight(1.0))
        .encode(strokeDash=_dash(comparison))
    )
    points = lines.mark_point(filled=True, size=60).encode(
        opacity=alt.value(0), tooltip=_tooltips(rows[0])
    )
    return _layer([lines, points], width=320, height=220)


def _horizon(group: Group) -> dict[str, Any] | None:
    """Return one point of the loss-compute picture, with the compute it is matched to."""
    seen = group.observation
    if seen is None:
        return None
    mean, error = mean_and_standard_error(seen.losses)
    row = {
        "optimizer": group.label,
        "steps": group.steps,
        "seeds": len(seen.losses),
        "compute": _round(seen.compute),
        "loss": _round(mean),
        "low": _round(mean - (error or 0.0)),
        "high": _round(mean + (error or 0.0)),
        "M": words.multiplier(group.multiplier),
    }
    if group.multiplier and group.multiplier.value:
        row["matched"] = _round(seen.compute * group.multiplier.value)
    return row


def _round(value: float) -> float:
    """Keep 5 significant digits: enough for any screen, and a third of the bytes."""
    return float(f"{value:.5g}") if math.isfinite(value) else value


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _axis(field: str, title: str, form: str, scheme: Any = alt.X) -> Any:
    return scheme(
        f"{field}:Q",
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(title=title, format=form, labelOverlap=True, tickCount=6),
    )


def _color(comparison: Comparison, lines: bool = True) -> alt.Color:
    labels = list(comparison.labels)
    colors = [PALETTE[i % len(PALETTE)] for i in range(len(labels) - 1)]
    return alt.Color(
        "optimizer:N",
        scale=alt.Scale(domain=labels, range=[BASELINE_COLOR, *colors]),
        legend=_legend(lines),
    )


def _shape(comparison: Comparison) -> alt.Shape:
    """Tell the baseline (circle) from the candidates (diamond) without colour."""
    labels = list(comparison.labels)
    shapes = ["circle", *(["diamond"] * (len(labels) - 1))]
    return alt.Shape(
        "optimizer:N", scale=alt.Scale(domain=labels, range=shapes), legend=_legend(lines=False)
    )


def _legend(lines: bool) -> alt.Legend:
    """Return the one legend that colour, shape and dash share; three names fit a phone."""
    symbol: dict[str, Any] = {"symbolType": "stroke", "symbolStrokeWidth": 3} if lines else {}
    return alt.Legend(
        orient="top", title=None, columns=3, labelLimit=110, symbolOpacity=1, **symbol
    )


def _dash(comparison: Comparison) -> alt.StrokeDash:
    """Dash the candidates, so that a curve under another one shows through its gaps."""
    labels = list(comparison.labels)
    dashes = [[1, 0], *([[7, 3], [2, 3], [10, 3, 2, 3]] * len(labels))]
    scale = alt.Scale(domain=labels, range=dashes[: len(labels)])
    return alt.StrokeDash("optimizer:N", scale=scale, legend=_legend(lines=True))


def _highlight(opacity: float) -> Any:
    """Fade everything but the label that was clicked in the legend."""
    return alt.condition(_picked(), alt.value(opacity), alt.value(0.08))


@cache
def _picked() -> Any:
    return alt.selection_point(name="picked", fields=["optimizer"], bind="legend")


def _tooltips(row: dict[str, Any]) -> list[alt.Tooltip]:
    """Return the tooltip of a row: its text fields first, numbers with four digits."""
    hidden = {"low", "high", "matched", "run"}
    return [
        alt.Tooltip(f"{key}:N")
        if isinstance(value, str)
        else alt.Tooltip(f"{key}:Q", format=",d" if isinstance(value, int) else ".4~g")
        for key, value in row.items()
        if key not in hidden
    ]


def _layer(layers: list[Any], width: int = 680, height: int = 360) -> alt.LayerChart:
    """Lay charts over each other, to zoom with the wheel and to pick labels in the legend."""
    layers = [layers[0].add_params(_picked(), _zoom()), *layers[1:]]
    chart = alt.LayerChart(layer=layers).properties(width=width, height=height)
    return chart.configure_axis(
        labelFontSize=12, titleFontSize=13, titleFontWeight="normal"
    ).configure_legend(labelFontSize=13)


def _zoom() -> Any:
    """Zoom on Ctrl and wheel, so that scrolling down a page does not end in a chart."""
    wheel = "wheel![event.ctrlKey || event.metaKey]"
    return alt.selection_interval(name="zoom", bind="scales", zoom=wheel)
