"""The pictures of a comparison, as Altair charts: one definition for the page and for papers.

Every chart takes a `Comparison` and returns a chart, or None where the runs hold nothing to draw.
A label keeps its colour over all charts. Curves are thinned, so that the page stays small; the
full record is in the run directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adana.laws import mean_and_standard_error
from adana.report import drawing, off_scale, words
from adana.report import vega as alt
from adana.report.compare import Comparison, Group
from adana.report.drawing import MAX_POINTS, Chart, axis, inline, rounded, thin
from adana.report.records import Point, Record

BY = "optimizer"
"""The field of a row that tells curves apart."""

HOVER_POINTS = 80
"""Points a curve offers to the pointer."""

HIDDEN = ("low", "high", "matched", "run")
"""Fields of a row that its tooltip leaves out."""

SCHEDULES = {
    "lr": "learning rate",
    "ema_m": "1 \N{MINUS SIGN} β₁",
    "ema_v": "1 \N{MINUS SIGN} β₂",
    "momentum": "multiplier on m",
    "decay": "fraction removed a step",
}
"""The schedules that are drawn: key in ``metrics.jsonl`` and what it is."""

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
    first = {group.label: group.records[0] for group in comparison.main}
    return schedules_of(first, comparison.labels)


def schedules_of(records: Mapping[str, Record], labels: Sequence[str]) -> dict[str, alt.LayerChart]:
    """Return the schedules that one run of each label used; `labels` gives them their colours."""
    charts = {}
    for key, name in SCHEDULES.items():
        rows = [
            {"optimizer": label, "step": step, "value": rounded(value)}
            for label, record in records.items()
            for step, value in _schedule(record, key)
        ]
        if rows:
            charts[key] = _schedule_chart(labels, rows, name)
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
    x = axis("compute", "compute (PFH, 3.6e18 FLOP)", "~g" if largest >= 0.01 else "~e")
    ends = off_scale.domain(rows, off_scale.ceiling(comparison.records))
    y = _final_axis(ends)
    base = alt.Chart(inline(off_scale.shown(rows, ends)))
    base = base.encode(color=color, opacity=_highlight(1.0))
    line = alt.Chart(inline(curve)).mark_line(strokeWidth=2, clip=True).encode(x, y, color=color)
    errors = base.mark_rule(strokeWidth=2, clip=True).encode(x, y=alt.Y("low:Q"), y2="high:Q")
    points = base.mark_point(filled=True, size=90).encode(
        x, y, shape=_shape(comparison), tooltip=_tooltips(rows[0])
    )
    layers = [line, errors, points]
    layers += off_scale.crosses(rows, ends, BY, (x, color), HIDDEN)
    gaps = [row for row in off_scale.shown(rows, ends) if "matched" in row]
    if gaps:
        rules = alt.Chart(inline(gaps)).mark_rule(strokeDash=[3, 3], strokeWidth=1.5)
        layers.insert(0, rules.encode(x, y, x2="matched:Q", color=color, opacity=_highlight(1.0)))
    return _layer(layers)


def sweep_chart(comparison: Comparison) -> alt.LayerChart | None:
    """Return the final loss of every trial of the learning-rate sweep; None without a sweep."""
    rows = [
        {"optimizer": t.label, "lr": rounded(t.lr), "loss": rounded(t.loss)}
        for t in comparison.sweep
        if t.loss is not None
    ]
    if not rows:
        return None
    x = axis("lr", "peak learning rate", "~g")
    ends = off_scale.domain(rows, off_scale.ceiling(comparison.records))
    color, y = _color(comparison), _final_axis(ends)
    encodings = {"color": color, "opacity": _highlight(1.0), "tooltip": _tooltips(rows[0])}
    base = alt.Chart(inline(rows)).encode(x, y, **encodings)
    lines = base.mark_line(strokeWidth=2, clip=True).encode(strokeDash=_dash(comparison))
    points = alt.Chart(inline(off_scale.shown(rows, ends))).encode(x, y, **encodings)
    cross = off_scale.crosses(rows, ends, BY, (x, color))
    return _layer([lines, points.mark_point(filled=True, size=70), *cross])


def _final_axis(ends: tuple[float, float] | None) -> Any:
    title = "final validation loss (nats a token)"
    return axis("loss", title, ".3~f", scheme=alt.Y, domain=ends)


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


def _main_records(comparison: Comparison) -> list[Record]:
    return [record for group in comparison.main for record in group.records]


def _loss_chart(comparison: Comparison, curves: Curves, title: str) -> alt.LayerChart | None:
    """Return thin lines for seeds (dashed if the run failed) and a bold one for their mean."""
    seeds = [row for record, curve in curves for row in _curve_rows(record, curve)]
    if not seeds:
        return None
    means = [row for label in comparison.labels for row in _mean_rows(label, curves)]
    hover = [row for record, curve in curves for row in _curve_rows(record, curve, HOVER_POINTS)]
    ends = off_scale.domain(seeds, off_scale.ceiling(record for record, _ in curves))
    x, y = axis("tokens", "tokens", "~s"), axis("loss", title, ".3~f", scheme=alt.Y, domain=ends)
    color = _color(comparison)
    thin_lines = (
        alt.Chart(inline(seeds))
        .mark_line(strokeWidth=1, clip=True)
        .encode(
            x,
            y,
            color=color,
            detail="run:N",
            opacity=_highlight(0.55),
            strokeDash=alt.condition("datum.state == 'finished'", alt.value([]), alt.value([4, 3])),
        )
    )
    bold = alt.Chart(inline(means)).mark_line(strokeWidth=2.5, clip=True)
    near = drawing.nearest()
    points = (
        alt.Chart(inline(off_scale.shown(hover, ends)))
        .mark_point(filled=True, size=60)
        .encode(x, y, color=color, tooltip=_tooltips(hover[0]))
        .encode(opacity=alt.condition(near, alt.value(1), alt.value(0)))
        .add_params(near)
    )
    last = {row["run"]: row for row in hover}
    cross = off_scale.crosses([*last.values()], ends, BY, (x, color), HIDDEN)
    middle = [bold.encode(x, y, color=color, opacity=_highlight(1.0))] if means else []
    return _layer([thin_lines, *middle, points, *cross])


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
            "loss": rounded(curve[i].loss),
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
        {"optimizer": label, "tokens": shared[i], "loss": rounded(float(np.mean(at[shared[i]])))}
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
    labels: Sequence[str], rows: list[dict[str, Any]], title: str
) -> alt.LayerChart:
    x, y = axis("step", "step", "~s"), axis("value", title, "~g", scheme=alt.Y)
    lines = (
        alt.Chart(inline(rows))
        .mark_line(strokeWidth=2)
        .encode(x, y, color=drawing.color(BY, labels), opacity=_highlight(1.0))
        .encode(strokeDash=drawing.dash(BY, labels))
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
        "compute": rounded(seen.compute),
        "loss": rounded(mean),
        "low": rounded(mean - (error or 0.0)),
        "high": rounded(mean + (error or 0.0)),
        "M": words.multiplier(group.multiplier),
    }
    if group.multiplier and group.multiplier.value:
        row["matched"] = rounded(seen.compute * group.multiplier.value)
    return row


def _color(comparison: Comparison, lines: bool = True) -> alt.Color:
    return drawing.color(BY, comparison.labels, lines=lines)


def _shape(comparison: Comparison) -> alt.Shape:
    """Tell the baseline (circle) from the candidates (diamond) without colour."""
    labels = list(comparison.labels)
    shapes = ["circle", *(["diamond"] * (len(labels) - 1))]
    scale = alt.Scale(domain=labels, range=shapes)
    return alt.Shape(f"{BY}:N", scale=scale, legend=drawing.legend(labels, lines=False))


def _dash(comparison: Comparison) -> alt.StrokeDash:
    return drawing.dash(BY, comparison.labels)


def _highlight(opacity: float) -> Any:
    return drawing.highlight(BY, opacity)


def _tooltips(row: dict[str, Any]) -> list[alt.Tooltip]:
    return drawing.tooltips(row, HIDDEN)


def _layer(layers: Sequence[Any], **size: int) -> alt.LayerChart:
    return drawing.layered(BY, layers, **size)
