"""The page of the schedules: interactive charts with sliders, in one file that works offline.

The schedules are sampled on a grid of steps and of the hyperparameters that the page has sliders
for: moving a slider chooses among samples, the browser computes nothing.
"""

# ruff: noqa: RUF001 -- Greek letters and minus signs are meant

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adana import schedules
from adana.report import drawing
from adana.report import vega as alt
from adana.report.drawing import inline, rounded, thin
from adana.report.page import Figure, Heading, figure, page
from adana.report.schedules import Course, Picture, pictures
from adana.runs import write_bytes

POINTS = 150
"""Steps at which a curve is sampled on the page."""
FEWER_POINTS = 80
"""The same for a small picture."""


def rows(picture: Picture, steps: int, points: int = POINTS) -> list[dict[str, Any]]:
    """Return the samples of a picture: label, step, value, and the settings they belong to.

    Zeros are left out where the axis is logarithmic.
    """
    t = np.array([i + 1 for i in thin(steps, points)], dtype=np.float64)
    found = []
    for curve in picture.curves:
        values = np.broadcast_to(curve.values(t), t.shape)
        found += [
            {"curve": curve.label, "t": int(step), "y": rounded(float(y)), **curve.settings}
            for step, y in zip(t, values, strict=True)
            if y > 0 or not picture.log
        ]
    return found


def chart(picture: Picture, course: Course) -> alt.LayerChart:
    """Return the interactive chart: to hover, to zoom, to pick labels, and to be set by sliders."""
    near = drawing.nearest()
    samples = rows(picture, course.steps)
    layers = _lines(picture, samples, lambda opacity: drawing.highlight("curve", opacity))
    points = layers[-1].mark_point(filled=True, size=60).add_params(near)
    points = points.encode(
        opacity=alt.condition(near, alt.value(1), alt.value(0)),
        strokeDash=alt.Undefined,
        tooltip=[
            alt.Tooltip("curve:N"),
            alt.Tooltip("t:Q", title="step", format=",d"),
            alt.Tooltip("y:Q", title="value", format=".4~g"),
        ],
    )
    used = {name for curve in picture.curves for name in curve.settings}
    sliders = [alt.param(name=name, value=course.settings[name]) for name in sorted(used)]
    layers[0] = layers[0].add_params(*sliders) if sliders else layers[0]
    return drawing.layered("curve", [*layers, points], height=300)


def overview(course: Course) -> alt.VConcatChart:
    """Return all charts as one picture that does not move, for a document."""
    small = []
    for picture in pictures(course):
        layers = _lines(picture, rows(picture, course.steps, FEWER_POINTS), alt.value)
        small.append(
            alt.LayerChart(layer=layers).properties(width=340, height=220, title=picture.title)
        )
    pairs = [_apart(alt.HConcatChart(hconcat=small[i : i + 2])) for i in range(0, len(small), 2)]
    both = _apart(alt.VConcatChart(vconcat=pairs, background="white"))
    both = both.add_params(*(alt.param(name=n, value=x) for n, x in course.settings.items()))
    return drawing.styled(both).configure_title(fontSize=13, anchor="start")


def _apart(charts: Any) -> Any:
    """Give each of several charts its own legend."""
    return charts.resolve_scale(color="independent", strokeDash="independent")


def _lines(
    picture: Picture, samples: list[dict[str, Any]], opacity: Callable[[float], Any]
) -> list[alt.Chart]:
    """Return the lines at the sliders' settings, and under them the family at the others."""
    labels = [style.label for style in picture.styles]
    legend = drawing.legend(labels, lines=True)
    color = alt.Scale(domain=labels, range=[style.color for style in picture.styles])
    dashes = alt.Scale(domain=labels, range=[style.dash for style in picture.styles])
    log = picture.log
    base = alt.Chart(inline(samples)).encode(
        drawing.axis("t", "step t", "~s" if log else ",d", log=log, decades=log),
        drawing.axis("y", picture.axis, "~g", alt.Y, log=log, domain=picture.domain, decades=log),
        color=alt.Color("curve:N", scale=color, legend=legend),
    )
    chosen = (
        base.transform_filter(_at_the_sliders(picture))
        .mark_line(strokeWidth=2.5, clip=True)
        .encode(
            opacity=opacity(1.0), strokeDash=alt.StrokeDash("curve:N", scale=dashes, legend=legend)
        )
    )
    if not picture.family:
        return [chosen]
    (setting,) = {s for c in picture.curves if c.label == picture.family for s in c.settings}
    family = (
        base.transform_filter(f"datum.curve === '{picture.family}'")
        .mark_line(strokeWidth=1, clip=True)
        .encode(detail=f"{setting}:N", opacity=opacity(0.3))
    )
    return [family, chosen]


def _at_the_sliders(picture: Picture) -> str:
    """Return the expression that keeps what belongs to the sliders' settings, or to any."""
    used = sorted({name for curve in picture.curves for name in curve.settings})
    tests = [f"(!isValid(datum.{name}) || datum.{name} === {name})" for name in used]
    return " && ".join(tests) or "true"


class Slider(NamedTuple):
    """A control of the page: the signal it sets, in words, and what it offers."""

    name: str
    symbol: str
    text: str
    values: list[float]
    at: int
    """Which of them it stands at."""


SLIDERS = {
    "kappa": ("κ", "damping of the momentum"),
    "delta": ("δ", "memory: larger is shorter"),
    "omega": ("ω", "strength of weight decay"),
}

HEADINGS = (
    Heading("step t", "optimizer step, from 1", number=False),
    Heading("1 − β(t)", "weight of the newest gradient, δ/(δ + t)"),
    Heading("mean age", "of what is averaged, in steps, t/(δ + 1)"),
    Heading("α(t)", "multiplier on the momentum, (1 + t)^(1 − κ)"),
    Heading("γ(t)", "learning rate as a fraction of its peak"),
    Heading("removed", "fraction of each weight removed in the step, γ(t) ω/(S + t)"),
    Heading("so far", "the same summed over all steps"),
)


def figures(course: Course) -> list[Figure]:
    """Return every chart of the page with its words."""
    return [figure(p.name, p.title, p.caption, chart(p, course)) for p in pictures(course)]


def sliders(course: Course) -> list[Slider]:
    """Return the page's controls."""
    return [
        Slider(name, *SLIDERS[name], values, values.index(course.settings[name]))
        for name, values in course.choices.items()
    ]


def table(course: Course) -> list[list[str]]:
    """Return the schedules as text at a few steps, a row each, under `HEADINGS`."""
    powers = [10**i for i in range(8) if 10**i < course.steps]
    decay = course.log_time_decay(course.omega)
    removed = course.removed(decay)
    return [
        [
            f"{t:,}",
            f"{schedules.ema_weight(t, course.delta):.3g}",
            f"{schedules.mean_age(t, course.delta):,.1f}",
            f"{schedules.damping(t, course.kappa):.3g}",
            f"{course.gamma(t):.3g}",
            f"{course.with_gamma(decay)(t):.3g}",
            f"{float(removed(t)):.3g}",
        ]
        for t in [*powers, course.steps]
    ]


def render_schedules(course: Course, settings: Iterable[tuple[str, str]] = ()) -> str:
    """Return the page; `settings` are (name, text) pairs that say what it was made for."""
    drawings = figures(course)
    return page(
        "schedules.html.j2",
        drawings,
        title=f"Schedules of a log-time optimizer over {course.steps:,} steps",
        figures=drawings,
        sliders=sliders(course),
        settings=dict(settings),
        table={"columns": HEADINGS, "rows": table(course)},
    )


def write_schedules(
    course: Course, path: Path | str, settings: Iterable[tuple[str, str]] = ()
) -> None:
    """Write the page to `path`, atomically."""
    write_bytes(Path(path), render_schedules(course, settings).encode())
