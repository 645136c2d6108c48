"""The pictures of a study beside its headline: curves, bowls, sensitivities, schedules, cost.

Every function takes a `Study` and returns charts, or none where the runs hold nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from adana.report import drawing, off_scale
from adana.report import vega as alt
from adana.report.cells import Scale
from adana.report.charts import schedules_of
from adana.report.choice import Choice, Sensitivity, is_number
from adana.report.drawing import Chart, axis, inline, rounded, thin
from adana.report.law_charts import BY, COMPUTE, Rows, loss_chart, worth_chart
from adana.report.records import Record
from adana.report.study import Study

CURVE_POINTS = 120
"""Points that the loss curve of a run keeps."""

SMALL = {"width": 320, "height": 220}


def study_charts(study: Study) -> dict[str, Chart]:
    """Return every chart that these runs can fill, by name."""
    single: dict[str, Chart | None] = {
        "loss": loss_chart(study),
        "multiplier": worth_chart(study),
        "curves": curves_chart(study),
        "rates": rates_chart(study),
        "cost": cost_chart(study),
    }
    found = {name: chart for name, chart in single.items() if chart is not None}
    found |= {f"bowl-{i}": chart for i, (_, chart) in enumerate(bowl_charts(study))}
    found |= {f"sensitivity-{s.name}": sensitivity_chart(study, s) for s in study.sensitivities}
    schedules = schedules_of(schedule_records(study), study.labels)
    return found | {f"schedule-{key}": chart for key, chart in schedules.items()}


def curves_chart(study: Study) -> alt.LayerChart | None:
    """Return validation loss against compute spent, of the best run of each size and optimizer."""
    rows = [
        row
        for choice in study.choices
        if choice.scale in study.ladder and (best := best_run(choice)) is not None
        for row in _curve_rows(choice.scale, best)
    ]
    if not rows:
        return None
    largest = max(row["compute"] for row in rows)
    x = axis("compute", COMPUTE.replace("compute", "compute spent"),
             "~g" if largest >= 0.01 else "~e")  # fmt: skip
    ends = off_scale.domain(rows, off_scale.ceiling(study.records))
    y = axis("loss", "validation loss (nats a token)", ".3~f", scheme=alt.Y, domain=ends)
    color = drawing.color(BY, study.labels)
    lines = alt.Chart(inline(rows)).mark_line(strokeWidth=1.75, clip=True)
    lines = lines.encode(x, y, color=color, detail="run:N", opacity=drawing.highlight(BY, 0.9))
    near = drawing.nearest()
    points = (
        alt.Chart(inline(off_scale.shown(rows, ends)))
        .mark_point(filled=True, size=60)
        .encode(x, y, color=color)
        .encode(tooltip=drawing.tooltips(rows[0], ("run",)))
        .encode(opacity=alt.condition(near, alt.value(1), alt.value(0)))
        .add_params(near)
    )
    last = {row["run"]: row for row in rows}
    cross = off_scale.crosses([*last.values()], ends, BY, (x, color), ("run",))
    return drawing.layered(BY, [lines, points, *cross])


def best_run(choice: Choice) -> Record | None:
    """Return the run with the lowest final loss of the chosen cell."""
    finished = choice.chosen.finished if choice.chosen else ()
    return min(finished, key=lambda record: record.loss) if finished else None


def _curve_rows(scale: Scale, record: Record) -> Rows:
    points = [point for point in record.evaluations if point.step > 0 and point.loss > 0]
    return [
        {
            BY: record.label,
            "run": record.identity,
            "size": scale.name,
            "seed": record.seed,
            "step": points[i].step,
            "tokens": points[i].tokens,
            "compute": rounded((scale.compute or 0.0) * points[i].step / scale.steps),
            "loss": rounded(points[i].loss),
        }
        for i in thin(len(points), CURVE_POINTS)
        if scale.compute
    ]


def bowl_charts(study: Study) -> list[tuple[Scale, alt.LayerChart]]:
    """Return the learning-rate bowls, a chart a scale; none where no optimizer has two rates."""
    found = []
    for scale in study.scales:
        choices = [result.choice for result in study.at(scale)]
        if any(len(choice.grid) > 1 for choice in choices):
            chart = _bowl_chart(study, choices)
            if chart is not None:
                found.append((scale, chart))
    return found


def _bowl_chart(study: Study, choices: Iterable[Choice]) -> alt.LayerChart | None:
    choices = list(choices)
    means = [row for choice in choices for row in _mean_rows(choice)]
    if not means:
        return None
    x = axis("lr", "peak learning rate", "~g")
    ends = off_scale.domain(means, off_scale.ceiling(study.records))
    y = axis("loss", "final loss", ".3~f", scheme=alt.Y, log=False, zero=False, domain=ends)
    color = drawing.color(BY, study.labels)
    encodings = {
        **{"color": color, "opacity": drawing.highlight(BY, 1.0)},
        "tooltip": drawing.tooltips(means[0]),
    }
    lines = alt.Chart(inline(means)).mark_line(strokeWidth=1, opacity=0.5, clip=True)
    points = alt.Chart(inline(off_scale.shown(means, ends))).mark_point(filled=True, size=45)
    layers = [lines.encode(x, y, **encodings), points.encode(x, y, **encodings)]
    seeds = [row for choice in choices for row in _seed_rows(choice)]
    seeds = off_scale.shown(seeds, ends)
    dots = alt.Chart(inline(seeds)).mark_tick(orient="horizontal", thickness=1.5, size=9)
    layers.append(dots.encode(x, y, color=color, opacity=drawing.highlight(BY, 0.6)))
    fits = [row for choice in choices for row in _parabola_rows(choice)]
    if fits:
        curve = alt.Chart(inline(fits)).encode(x, y, color=color)
        layers.append(
            curve.mark_line(strokeWidth=2, strokeDash=[5, 3], clip=True).encode(
                opacity=drawing.highlight(BY, 1.0)
            )
        )
        best = alt.Chart(inline([row for row in off_scale.shown(fits, ends) if row["best"]]))
        layers.append(
            best.mark_point(shape="diamond", size=110, strokeWidth=2, filled=False).encode(
                x, y, color=color, opacity=drawing.highlight(BY, 1.0),
                tooltip=drawing.tooltips(fits[0], ("best",)),
            )
        )  # fmt: skip
    layers += off_scale.crosses(means, ends, BY, (x, color))
    lost = [row for c in choices for row in _diverged_rows(c, off_scale.shown(means, ends))]
    if lost:
        cross = alt.Chart(inline(lost)).mark_point(shape="cross", angle=45, size=70, filled=True)
        layers.append(
            cross.encode(
                x, y, color=color, opacity=drawing.highlight(BY, 1.0),
                tooltip=drawing.tooltips(lost[0], ("loss",)),
            )
        )  # fmt: skip
    return drawing.layered(BY, layers, **SMALL)


def _mean_rows(choice: Choice) -> Rows:
    return [
        {BY: choice.label, "lr": rounded(cell.lr), "loss": rounded(cell.mean),
         "seeds": len(cell.finished)}
        for cell in choice.grid
        if math.isfinite(cell.mean)
    ]  # fmt: skip


def _seed_rows(choice: Choice) -> Rows:
    return [
        {BY: choice.label, "lr": rounded(cell.lr), "loss": rounded(loss)}
        for cell in choice.grid
        for loss in cell.losses.values()
    ]


def _parabola_rows(choice: Choice) -> Rows:
    """Return the fitted parabola over the rates it was fitted to, its lowest point marked."""
    bowl = choice.bowl
    if bowl is None or not bowl.convex:
        return []
    lrs = [float(lr) for lr in np.geomspace(min(bowl.fitted), max(bowl.fitted), 24)]
    return [
        {BY: choice.label, "lr": rounded(lr), "loss": rounded(bowl(lr)), "best": lr == bowl.lr}
        for lr in sorted([*lrs, bowl.lr])
    ]


def _diverged_rows(choice: Choice, means: Rows) -> Rows:
    """Return the rates that diverged, at the top of the chart."""
    top = max(row["loss"] for row in means)
    return [
        {BY: choice.label, "lr": rounded(cell.lr), "loss": top, "diverged": cell.diverged}
        for cell in choice.grid
        if cell.diverged
    ]


def rates_chart(study: Study) -> alt.LayerChart | None:
    """Return the best learning rate against model size; None with fewer than two sizes."""
    rows = [row for choice in study.choices if (row := _rate_row(study, choice))]
    if len({row["parameters"] for row in rows}) < 2:
        return None
    x = axis("parameters", "parameters without embeddings", "~s")
    y = axis("lr", "best learning rate", "~g", scheme=alt.Y)
    color = drawing.color(BY, study.labels)
    base = alt.Chart(inline(rows)).encode(x, color=color, opacity=drawing.highlight(BY, 1.0))
    marks = base.mark_point(size=80, strokeWidth=2).encode(
        y,
        fill=alt.condition("datum.fitted", color, alt.value("transparent")),
        tooltip=drawing.tooltips(rows[0], ("low", "high")),
    )
    errors = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q")
    return drawing.layered(BY, [base.mark_line(strokeWidth=1.5).encode(y), errors, marks])


def _rate_row(study: Study, choice: Choice) -> dict[str, Any] | None:
    bowl, scale = choice.bowl, choice.scale
    if bowl is None or scale.parameters is None or scale not in study.ladder:
        return None
    if len(choice.grid) < 2:
        return None
    error = math.exp(bowl.log_lr_se or 0.0)
    return {
        BY: choice.label,
        "size": scale.name,
        "parameters": scale.parameters,
        "lr": rounded(bowl.lr),
        "low": rounded(bowl.lr / error),
        "high": rounded(bowl.lr * error),
        "edge": choice.edge,
        "fitted": bowl.convex,
        "found": "fitted" if bowl.convex else "lowest of the grid",
    }


def sensitivity_chart(study: Study, sensitivity: Sensitivity) -> alt.LayerChart:
    """Return how far the loss is above the best value's, a line for each optimizer and size."""
    lowest: dict[tuple[str, Scale], float] = {}
    for label, scale, _, loss, _ in sensitivity.rows:
        at = (label, scale)
        lowest[at] = min(loss, lowest.get(at, math.inf))
    rows = [
        {
            BY: label,
            "size": scale.called,
            "value": value if is_number(value) else str(value),
            "above": rounded(loss - lowest[label, scale]),
            "loss": rounded(loss),
            "seeds": seeds,
        }
        for label, scale, value, loss, seeds in sensitivity.rows
    ]
    numeric = all(is_number(row["value"]) for row in rows)
    x = (
        axis("value", sensitivity.name, "~g", log=False, zero=False)
        if numeric
        else alt.X("value:N", title=sensitivity.name, axis=alt.Axis(labelAngle=0))
    )
    y = axis("above", "loss above the best (nats)", ".3~g", scheme=alt.Y, log=False, zero=False)
    base = alt.Chart(inline(rows)).encode(
        x, y, color=drawing.color(BY, study.labels), opacity=drawing.highlight(BY, 1.0)
    )
    lines = base.mark_line(strokeWidth=2).encode(detail="size:N")
    points = base.mark_point(filled=True, size=60).encode(tooltip=drawing.tooltips(rows[0]))
    lay = drawing.layered if numeric else drawing.side_by_side
    return lay(BY, [lines, points], height=260)


def schedule_records(study: Study) -> dict[str, Record]:
    """Return the run whose schedules are shown: each label's best at its largest size."""
    found = {}
    for choice in study.choices:
        best = best_run(choice)
        if best is not None and best.schedule:
            found[choice.label] = best
    return {label: found[label] for label in study.labels if label in found}


def cost_chart(study: Study) -> alt.LayerChart | None:
    """Return the time of the optimizer's step against model size; None for fewer than 2 sizes."""
    rows = [
        {
            BY: cost.label,
            "size": cost.scale.name,
            "parameters": cost.scale.all_parameters,
            "ms": rounded(cost.optimizer_ms),
            "share": rounded(cost.share) if cost.share is not None else 0.0,
        }
        for cost in study.costs
        if cost.optimizer_ms and cost.scale.all_parameters and cost.scale in study.ladder
    ]
    if len({row["parameters"] for row in rows}) < 2:
        return None
    x = axis("parameters", "all parameters", "~s")
    y = axis("ms", "optimizer's step (ms)", "~g", scheme=alt.Y)
    base = alt.Chart(inline(rows)).encode(
        x, y, color=drawing.color(BY, study.labels), opacity=drawing.highlight(BY, 1.0)
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=drawing.dash(BY, study.labels))
    points = base.mark_point(filled=True, size=70).encode(tooltip=drawing.tooltips(rows[0]))
    return drawing.layered(BY, [lines, points], height=260)
