"""The headline of a study: loss against compute, and what the difference is worth in compute.

Two estimators of the multiplier are drawn side by side: read off the baseline's own points
("measured"), and from laws fitted to all points ("fitted law"). Where they disagree, believe
neither. Bars and bands are intervals.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adana.laws.loss_law import LossLaw
from adana.laws.multiplier import LEVEL
from adana.laws.multiplier_curve import MultiplierCurve
from adana.report import drawing, off_scale
from adana.report import vega as alt
from adana.report.drawing import axis, inline, rounded
from adana.report.study import Study
from adana.report.study_laws import compute_grid
from adana.report.study_words import worth

BY = "optimizer"
ESTIMATORS = ("measured", "fitted law")
COMPUTE = "compute (PFH, 3.6e18 FLOP)"
WORST = 0.1
"""An optimizer that needs more than ten times the baseline's compute is off the scale of M."""
Rows = list[dict[str, Any]]


def loss_chart(study: Study) -> alt.LayerChart | None:
    """Return final loss against compute: means over seeds, lines between, and the fitted laws."""
    points = [row for label in study.labels for row in _point_rows(study, label)]
    if not points:
        return None
    x = _compute_axis(study)
    ends = off_scale.domain(points, off_scale.ceiling(study.records))
    y = axis("loss", "final validation loss (nats a token)", ".3~f", scheme=alt.Y, domain=ends)
    base = alt.Chart(inline(points)).encode(x, color=_color(study), opacity=_highlight(1.0))
    lines = base.mark_line(strokeWidth=2, clip=True).encode(y, strokeDash=_dash())
    errors = base.mark_rule(strokeWidth=2, clip=True).encode(y=alt.Y("low:Q"), y2="high:Q")
    hidden = ("low", "high", "estimator")
    marks = alt.Chart(inline(off_scale.shown(points, ends))).mark_point(filled=True, size=80)
    marks = marks.encode(
        *(x, y),
        color=_color(study),
        opacity=_highlight(1.0),
        tooltip=drawing.tooltips(points[0], hidden),
    )
    cross = off_scale.crosses(points, ends, BY, (x, _color(study)), hidden)
    layers = [lines, errors, marks, *cross]
    laws = [row for label in study.labels for row in _law_rows(study, label)]
    if laws:
        fitted = alt.Chart(inline(laws)).encode(x, color=_color(study))
        band = fitted.mark_area(clip=True).encode(
            y=alt.Y("low:Q"), y2="high:Q", opacity=_highlight(0.15, 0.03)
        )
        law = fitted.mark_line(strokeWidth=1.5, clip=True).encode(
            y, strokeDash=_dash(), opacity=_highlight(1.0)
        )
        layers = [band, law, *layers]
    return drawing.layered(BY, layers)


def worth_chart(study: Study) -> alt.LayerChart | None:
    """Return the compute multiplier against compute, by both estimators; None without one."""
    measured = [row for curve in study.findings.piecewise.values() for row in _worth_rows(curve)]
    fitted = [row for curve in study.findings.fitted.values() for row in _worth_rows(curve)]
    bounds = [row for curve in study.findings.piecewise.values() for row in _bound_rows(curve)]
    if not measured and not fitted and not bounds:
        return None
    off = [row for row in (*measured, *bounds) if row["M"] < WORST]
    measured, bounds = _above_worst(measured), _above_worst(bounds)
    domain = _worth_domain([*measured, *bounds], _above_worst(fitted))
    if off:
        domain = (WORST, domain[1])
    x = _compute_axis(study)
    y = axis("M", "compute multiplier M", ".2~f", scheme=alt.Y, domain=domain)
    one = alt.Chart(inline([{"M": 1.0}])).mark_rule(color=drawing.BASELINE_COLOR, strokeWidth=1.5)
    layers = []
    low, high = _clipped(domain)
    if fitted:
        base = alt.Chart(inline(fitted)).encode(x, color=_color(study))
        band = base.transform_calculate(low=low, high=high).mark_area(clip=True)
        layers += [
            band.encode(y=alt.Y("low:Q"), y2="high:Q", opacity=_highlight(0.15, 0.03)),
            base.mark_line(strokeWidth=1.5, clip=True).encode(
                y, strokeDash=_dash(), opacity=_highlight(1.0)
            ),
        ]
    if measured:
        base = alt.Chart(inline(measured)).encode(x, color=_color(study), opacity=_highlight(1.0))
        bars = base.transform_calculate(low=low, high=high).mark_rule(strokeWidth=2, clip=True)
        layers += [
            bars.encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_line(strokeWidth=2, clip=True).encode(y, strokeDash=_dash()),
            base.mark_point(filled=True, size=80, clip=True).encode(
                y, tooltip=drawing.tooltips(measured[0], ("estimator",))
            ),
        ]
    for side, shape, end in (("at least", "triangle-up", high), ("at most", "triangle-down", low)):
        if own := [row for row in bounds if row["bound"] == side]:
            base = alt.Chart(inline(own)).encode(x, color=_color(study), opacity=_highlight(1.0))
            rule = base.transform_calculate(end=end).mark_rule(strokeWidth=2, clip=True)
            layers += [
                rule.encode(y=y, y2="end:Q"),
                base.mark_point(filled=True, shape=shape, size=110, clip=True).encode(
                    y, tooltip=drawing.tooltips(own[0], ("estimator",))
                ),
            ]
    if off:
        cross = alt.Chart(inline([row | {"bottom": WORST} for row in off]))
        cross = cross.mark_point(shape="cross", angle=45, size=80, filled=True)
        shown = drawing.tooltips(off[0], ("estimator",))
        layers.append(
            cross.encode(
                *(x, alt.Y("bottom:Q")),
                color=_color(study),
                opacity=_highlight(1.0),
                tooltip=shown,
            )
        )
    layers.insert(1, one.encode(y))  # not first: that one carries the zoom, and this one has no x
    return drawing.layered(BY, layers, height=300)


def _above_worst(rows: Rows) -> Rows:
    return [row for row in rows if row["M"] >= WORST]


def headline(study: Study) -> alt.VConcatChart | None:
    """Return both panels as one picture, for papers."""
    panels = [chart for chart in (loss_chart(study), worth_chart(study)) if chart is not None]
    if len(panels) < 2:
        return None
    for panel in panels:
        panel.config = alt.Undefined  # only the whole picture may have one
    with warnings.catch_warnings():  # the panels share one pick and one zoom, as they should
        warnings.filterwarnings("ignore", "Automatically deduplicated selection parameter")
        return drawing.styled(alt.vconcat(*panels))


def _point_rows(study: Study, label: str) -> Rows:
    rows = []
    for result in study.results:
        scale, loss = result.scale, result.loss
        if result.label == label and scale in study.ladder and loss and result.choice.chosen:
            error = loss.error or 0.0
            rows.append(
                {
                    BY: label,
                    "estimator": ESTIMATORS[0],
                    "size": scale.name,
                    "compute": rounded(scale.compute or math.nan),
                    "lr": rounded(result.choice.chosen.lr),
                    "seeds": loss.count,
                    "loss": rounded(loss.mean),
                    "low": rounded(loss.mean - error),
                    "high": rounded(loss.mean + error),
                    "M": worth(result.worth),
                }
            )
    return rows


def _law_rows(study: Study, label: str) -> Rows:
    """Return a label's fitted law and its 90 % band, over the measured compute and a bit more."""
    fit = study.findings.fit
    if fit is None or label not in fit.laws:
        return []
    computes = _grid(study)
    draws = [LossLaw(*map(float, draw))(computes) for draw in fit.replicates[label]]
    bands = (
        np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0).T.tolist() if draws else []
    )
    losses = fit.laws[label](computes).tolist()
    rows: Rows = [
        {BY: label, "estimator": ESTIMATORS[1], "compute": rounded(compute), "loss": rounded(loss)}
        for compute, loss in zip(computes.tolist(), losses, strict=True)
    ]
    for row, (low, high) in zip(rows, bands, strict=False):  # no bands without draws
        row |= {"low": rounded(low), "high": rounded(high)}
    return rows


def _grid(study: Study) -> NDArray[np.float64]:
    """Return the compute from which to which curves are drawn."""
    return compute_grid([scale.compute for scale in study.ladder if scale.compute])


def _worth_rows(curve: MultiplierCurve) -> Rows:
    """Return the points of a curve that have a value; an open end of an interval is left out."""
    estimator = ESTIMATORS[0 if curve.estimator == "piecewise" else 1]
    rows = []
    for i, compute in enumerate(curve.compute):
        if not math.isfinite(curve.value[i]) or curve.value[i] <= 0:
            continue
        row = {
            BY: curve.name,
            "estimator": estimator,
            "compute": rounded(float(compute)),
            "M": rounded(float(curve.value[i])),
            "range": "measured" if curve.inside[i] else "extrapolated",
        }
        ends = {"low": curve.low[i], "high": curve.high[i]}
        rows.append(row | {k: rounded(float(v)) for k, v in ends.items() if 0 < v < math.inf})
    return rows


def _bound_rows(curve: MultiplierCurve) -> Rows:
    """Return the points of a measured curve whose M has no value, but lies on one side of a bound.

    Such is a loss below all of the baseline's: more compute than any of its runs had, who knows how
    much more.
    """
    rows = []
    for i, compute in enumerate(curve.compute):
        low, high = float(curve.low[i]), float(curve.high[i])
        if math.isfinite(curve.value[i]) or math.isfinite(low) == math.isfinite(high):
            continue
        row = {BY: curve.name, "estimator": ESTIMATORS[0], "compute": rounded(float(compute))}
        bound, side = (low, "at least") if math.isfinite(low) else (high, "at most")
        rows.append(row | {"M": rounded(bound), "bound": side})
    return rows


def _worth_domain(measured: Sequence[Any], fitted: Sequence[Any]) -> tuple[float, float]:
    """Return an axis that shows all values and the intervals of the measured ones, and M = 1.

    An interval may end anywhere, so it stretches the axis to three times the values at most.
    """
    values = [row["M"] for row in (*measured, *fitted)] + [1.0]
    ends = [row[key] for row in measured for key in ("low", "high") if key in row]
    low, high = min(values), max(values)
    low = max(min([low, *ends]), low / 3)
    high = min(max([high, *ends]), high * 3)
    return low / 1.06, high * 1.06


def _clipped(domain: tuple[float, float]) -> tuple[str, str]:
    """Return expressions for the ends of an interval, to the axis' end where it is open."""
    low, high = domain
    return (
        f"isValid(datum.low) ? max(datum.low, {low}) : {low}",
        f"isValid(datum.high) ? min(datum.high, {high}) : {high}",
    )


def _compute_axis(study: Study) -> Any:
    """Return the axis that both panels share."""
    low, *_, high = _grid(study).tolist()
    form = "~g" if high >= 0.01 else "~e"
    return axis("compute", COMPUTE, form, domain=(low, high))


def _color(study: Study) -> alt.Color:
    return drawing.color(BY, study.labels)


def _dash() -> alt.StrokeDash:
    scale = alt.Scale(domain=list(ESTIMATORS), range=[[1, 0], [5, 3]])
    below = alt.Legend(orient="bottom", title=None, symbolType="stroke", symbolStrokeWidth=2)
    return alt.StrokeDash("estimator:N", scale=scale, legend=below)


def _highlight(opacity: float, faded: float = 0.08) -> Any:
    return alt.condition(drawing.picked(BY), alt.value(opacity), alt.value(faded))
