"""The pictures of a search: each hyperparameter along its grid, pairs, and what tuning bought.

Grids go by factors and may hold zero, so their values stand side by side at equal distances.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from adana.report import drawing
from adana.report import vega as alt
from adana.report.drawing import Chart, inline, rounded
from adana.report.search_numbers import decimals_of, loss_text, plain, progress
from adana.searches import JointTable, Search, SearchAt, SweepRow

BY = "size"
"""The field of a row that tells the sizes of one search apart."""
SEARCH = "search"
"""The field that tells searches apart."""
CEILING = 8
"""What lies further above the best than so many times delta2 stands at the top of a chart."""
BLUE = drawing.PALETTE[1]
SMALL = {"width": 320, "height": 200}


def sweep_charts(search: Search) -> dict[str, alt.LayerChart]:
    """Return a chart for each hyperparameter: the loss along its last grid, a line a size."""
    names = dict.fromkeys(name for scale in search.scales for name in scale.tuned)
    return {name: _sweep_chart(search, name) for name in names}


def _sweep_chart(search: Search, name: str) -> alt.LayerChart:
    found = [(s, sweep) for s in search.scales for sweep in s.sweeps if sweep.name == name]
    rows = [row for scale, sweep in found for row in _sweep_rows(scale, sweep)]
    x = alt.X(
        "value:N",
        title=name,
        sort=_ordered(sweep for _, sweep in found),
        axis=alt.Axis(labelAngle=0, labelOverlap=True),
    )
    top = max(row["above"] for row in rows) or 1.0
    ends = (-0.06 * top, 1.06 * top)  # room for the marks at either end
    y = drawing.axis("above", "loss above the best (nats)", ".3~g", alt.Y, log=False, domain=ends)
    y["axis"]["labelExpr"] = "datum.value < 0 ? '' : datum.label"
    sizes = [scale.size for scale in search.scales]
    color = drawing.color(BY, sizes, baseline=False) if len(sizes) > 1 else alt.value(BLUE)
    base = alt.Chart(inline(rows)).encode(x, y, color=color, opacity=drawing.highlight(BY, 1.0))
    shown = drawing.tooltips(rows[0], ("above", "kind"))
    band = [{BY: scale.size, "above": rounded(scale.delta2)} for scale, _ in found]
    near = alt.Chart(inline(band)).mark_rule(strokeDash=[4, 3], strokeWidth=1.25, clip=True)
    marks = [
        base.transform_filter("datum.kind != 'off'").mark_line(strokeWidth=1.75),
        base.transform_filter("datum.kind == 'tried'").mark_point(size=50, filled=True),
        base.transform_filter("datum.kind == 'best'").mark_point(
            shape="diamond", size=170, filled=True
        ),
        base.transform_filter("datum.kind == 'off'").mark_point(
            shape="cross", angle=45, size=80, filled=True
        ),
    ]
    marks = [marks[0], *(mark.encode(tooltip=shown) for mark in marks[1:])]
    near = near.encode(y="above:Q", color=color, opacity=drawing.highlight(BY, 0.8))
    return drawing.side_by_side(BY, [*marks, near], **SMALL)


def _sweep_rows(scale: SearchAt, sweep: SweepRow) -> list[dict[str, Any]]:
    """Return a row a value; `kind` is "best", "tried", or "off" beyond the top of the chart."""
    lowest = min(sweep.losses)
    top = _ceiling(scale, [loss - lowest for loss in sweep.losses])
    decimals = decimals_of(scale)
    rows = []
    for value, loss in zip(sweep.values, sweep.losses, strict=True):
        above = loss - lowest
        at_best = value == scale.best[sweep.name]
        rows.append(
            {
                BY: scale.size,
                "value": plain(value),
                "loss": loss_text(loss, decimals),
                "above best": loss_text(above, decimals),
                "above": rounded(min(above, top)),
                "kind": "best" if at_best else "tried" if above <= top else "off",
            }
        )
    return rows


def _ceiling(scale: SearchAt, above: Iterable[float]) -> float:
    """Return how far above the best a chart shows losses: all of them if there was no noise."""
    finite = [excess for excess in above if math.isfinite(excess)]
    return CEILING * scale.delta2 or max(finite) or 1.0


def _ordered(sweeps: Iterable[SweepRow]) -> list[str]:
    """Return the values of all sizes in the order of the axis: ascending if they are numbers."""
    values = list(dict.fromkeys(value for sweep in sweeps for value in sweep.values))
    if all(isinstance(value, int | float) for value in values):
        values.sort()
    return list(dict.fromkeys(plain(value) for value in values))


def joint_chart(scale: SearchAt, check: JointTable) -> alt.LayerChart:
    """Return the losses around an optimum in two hyperparameters as a table of shades."""
    cells = itertools.product(enumerate(check.values[0]), enumerate(check.values[1]))
    finite = [loss for row in check.losses for loss in row if math.isfinite(loss)]
    lowest, decimals = min(finite), max(3, decimals_of(scale) - 1)
    worst = max(finite) - lowest
    top = min(_ceiling(scale, [worst]) / 2, max(worst, scale.delta2)) or 1.0
    rows = [
        {
            "row": plain(a),
            "column": plain(b),
            "above": rounded(min(check.losses[i][j] - lowest, top)),
            "loss": loss_text(check.losses[i][j], decimals),
            "weight": "bold" if (a, b) == check.centre else "normal",
        }
        for (i, a), (j, b) in cells
    ]
    first, second = check.names
    base = alt.Chart(inline(rows)).encode(
        alt.X(
            "column:N",
            title=second,
            sort=[plain(value) for value in check.values[1]],
            axis=alt.Axis(labelAngle=0),
        ),
        alt.Y("row:N", title=first, sort=[plain(value) for value in reversed(check.values[0])]),
    )
    shade = alt.Scale(domain=[0, top], range=[0.75, 0.05])
    rectangles = base.mark_rect(color=BLUE).encode(
        opacity=alt.Opacity("above:Q", scale=shade, legend=None)
    )
    texts = base.mark_text(fontSize=13).encode(text="loss:N")
    plain_texts = texts.transform_filter("datum.weight == 'normal'")
    centre = texts.transform_filter("datum.weight == 'bold'").mark_text(
        fontSize=14, fontWeight="bold"
    )
    return drawing.styled(
        alt.LayerChart(layer=[rectangles, plain_texts, centre]).properties(width=260, height=150)
    )


def progress_chart(searches: Sequence[tuple[str, SearchAt]]) -> Chart | None:
    """Return the best loss found so far against trainings, a line for each named search.

    None where none of them found anything.
    """
    labels = [label for label, _ in searches]
    rows = [
        {
            SEARCH: label,
            "trainings": count,
            "device-hours": rounded(seconds / 3600),
            "best": rounded(best),
        }
        for label, scale in searches
        for count, seconds, best in progress(scale)
    ]
    if not rows:
        return None
    x = drawing.axis("trainings", "trainings", ",d", log=False)
    x["axis"]["tickMinStep"] = 1
    y = drawing.axis("best", "best loss so far (nats)", "~g", alt.Y, log=False, zero=False)
    color = drawing.color(SEARCH, labels, baseline=False) if len(labels) > 1 else alt.value(BLUE)
    base = alt.Chart(inline(rows)).encode(x, y, color=color, opacity=drawing.highlight(SEARCH, 1.0))
    near = drawing.nearest()
    points = (
        base.mark_point(filled=True, size=60)
        .encode(tooltip=drawing.tooltips(rows[0]))
        .encode(opacity=alt.condition(near, alt.value(1), alt.value(0)))
        .add_params(near)
    )
    lines = base.mark_line(strokeWidth=2, interpolate="step-after")
    return drawing.layered(SEARCH, [lines, points], height=240)
