"""The compute-optimal frontier and its exponents (spec/plrf.md section 12, figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adana.checks import check_integer, check_range
from adana.plrf.blocks import MOST_STEPS, integrate
from adana.plrf.curve import RiskCurve
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.charts import curve, guide, log_chart
from adana.plrf.experiments.defaults import ALPHA, BETA
from adana.plrf.experiments.methods import compared_methods
from adana.plrf.experiments.result import (
    Plot,
    Progress,
    Result,
    Row,
    points,
    power_of_ten,
    silent,
    table,
    tracked,
)
from adana.plrf.frontiers import Frontier, frontier
from adana.plrf.momentum import GAIN, default_step
from adana.plrf.phases import Exponents, exponents, phase
from adana.schedules import DELTA

METHODS = ("SGD", "DANA-constant", "DANA-decaying")
PER_DECADE = 3
"""Dimensions in a factor of ten."""
COMPUTES = 12
"""Points of the frontier in a factor of ten."""
LEAST_COMPUTE = 1e5
APART = 2.0
"""Factor by which guides lie beside the frontiers."""


def frontier_experiment(
    alpha: float = ALPHA,
    beta: float = BETA,
    *,
    smallest: int = 100,
    largest: int = 1_000_000,
    most_compute: float = 1e13,
    batch: int = 1,
    gain: float = GAIN,
    delta: float = DELTA,
    progress: Progress = silent,
) -> Result:
    """Integrate three methods at many dimensions d, and find the best d of each compute d B t.

    Exponents of the lowest risk and of the best d are fitted to the upper half of the computes (in
    logarithm) at which the best d lies inside the range, and compared with the theory.

    Raises:
        ValueError: parameters outside their range.
    """
    check_integer("smallest", smallest, low=2)
    check_integer("largest", largest, low=10 * smallest)
    check_integer("batch", batch, low=1)
    most = float(MOST_STEPS) * smallest * batch  # the smallest d takes most of the steps
    check_range("most_compute", most_compute, low=1e3 * LEAST_COMPUTE, high=most, low_open=True)
    decades = np.log10(largest / smallest)
    dimensions = np.unique(
        np.geomspace(smallest, largest, round(decades * PER_DECADE) + 1).round().astype(int)
    )
    computes = np.geomspace(
        LEAST_COMPUTE, most_compute, round(np.log10(most_compute / LEAST_COMPUTE) * COMPUTES) + 1
    )
    curves: dict[str, dict[float, RiskCurve]] = {name: {} for name in METHODS}
    for d in tracked(list(dimensions), progress, lambda d: f"d = {d:,}"):
        spectrum = deterministic_spectrum(alpha, beta, int(d))
        step = default_step(spectrum.trace, batch)
        steps = max(int(np.ceil(most_compute / (int(d) * batch))), 1)
        for method in compared_methods(alpha, step, int(d), METHODS, gain=gain, delta=delta):
            found = integrate(spectrum, method, batch=batch, total_steps=steps)
            curves[method.name][float(d)] = found
    fronts = {name: frontier(curves[name], computes, batch=batch) for name in METHODS}
    theories = {name: exponents(alpha, beta, name) for name in METHODS}
    rows = [_row(name, fronts[name], theories[name]) for name in METHODS]
    return Result(
        name="frontier",
        title=f"Compute-optimal training at alpha = {alpha:g}, beta = {beta:g}: "
        f"phase {phase(alpha, beta)}",
        about=(
            "A compute f can train a small model for long or a large one briefly: f = d t, times "
            "the batch. For each f one size d is best: a smaller one has met its floor, a larger "
            "one is not yet trained. The lowest risk over all sizes, the frontier, is a power of "
            "compute, and so is the best size."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": f"{len(dimensions)} values from {smallest:,} to {largest:,}, v = 4 d, nothing "
            "drawn",
            "compute": f"{LEAST_COMPUTE:g} to {most_compute:g}",
            "batch": f"{batch}",
            "gamma2": "0.5 min(1, batch / trace) at each d",
            "gain c, delta": f"{gain:g}, {delta:g}",
        },
        findings=_findings(rows, theories),
        plots=(
            _plot(fronts, theories),
            _sizes(fronts, theories),
            _curves(curves["DANA-decaying"], fronts["DANA-decaying"], batch),
        ),
        tables=(table("frontier-exponents", "Exponents in compute", COLUMNS, rows),),
        data=(points("frontier", "The frontiers", _points(fronts)),),
    )


COLUMNS = {
    "method": "what was integrated",
    "P exponent": "fitted: the lowest risk goes like compute^-exponent",
    "P theory": "the same by theory",
    "d exponent": "fitted: the best size goes like compute^exponent",
    "d theory": "the same by theory",
    "from compute": "where the fit begins",
    "to compute": "where it ends: beyond, the best size is the largest one",
    "confirmed": "whether the theory's exponents are known or were confirmed numerically",
}


def _row(name: str, front: Frontier, theory: Exponents) -> dict[str, Any]:
    eta, xi = front.exponents(low=front.upper_half())
    return {
        "method": name,
        "P exponent": round(eta, 4),
        "P theory": round(theory.compute, 4),
        "d exponent": round(xi, 4),
        "d theory": round(theory.size, 4),
        "from compute": front.upper_half(),
        "to compute": float(front.compute[-1]),
        "confirmed": theory.confirmed,
    }


def _findings(rows: Sequence[Row], theories: Mapping[str, Exponents]) -> tuple[str, ...]:
    said = [
        f"{row['method']}: the lowest risk goes like compute^-{row['P exponent']:.3f} (theory "
        f"{row['P theory']:.3f}) at a size like compute^{row['d exponent']:.3f} (theory "
        f"{row['d theory']:.3f})."
        for row in rows
    ]
    notes: dict[str, list[str]] = {}
    for name, theory in theories.items():
        if theory.note:
            notes.setdefault(theory.note, []).append(name)
    return (
        *said,
        *(f"Not confirmed for {' and '.join(names)}: {note}." for note, names in notes.items()),
    )


def _plot(fronts: Mapping[str, Frontier], theories: Mapping[str, Exponents]) -> Plot:
    lines: list[Any] = []
    guides: list[Any] = []
    for name, front in fronts.items():
        lines += curve(name, front.compute, front.risk)
        exponent, below = -theories[name].compute, name != "SGD"
        shift = {"SGD": APART, "DANA-constant": None, "DANA-decaying": 1 / APART}[name]
        if shift is not None:
            guides += _guide(name, front, front.risk * shift, exponent, below)
    chart = log_chart(
        lines, list(METHODS), "compute d B t", "lowest risk P over all sizes", guides=guides
    )
    caption = (
        "The lowest risk that any size reaches with a compute. Dotted: the exponents of theory "
        "for SGD and DANA-decaying, laid beside the upper half, where the exponents are fitted."
    )
    return Plot("frontier", "The compute-optimal frontier", caption, chart)


def _sizes(fronts: Mapping[str, Frontier], theories: Mapping[str, Exponents]) -> Plot:
    lines: list[Any] = []
    guides: list[Any] = []
    for name, front in fronts.items():
        lines += curve(name, front.compute, front.dimension)
        if name != "DANA-constant":
            below = name == "SGD"
            shift = 1 / APART if below else APART
            guides += _guide(name, front, front.dimension * shift, theories[name].size, below)
    chart = log_chart(lines, list(METHODS), "compute d B t", "best size d", guides=guides)
    caption = "The size that reaches the frontier, for each method, with the slopes of theory."
    return Plot("frontier-sizes", "The best size for a compute", caption, chart)


def _guide(
    name: str, front: Frontier, values: np.ndarray, exponent: float, below: bool
) -> list[dict[str, Any]]:
    middle = int(
        np.searchsorted(front.compute, front.upper_half() ** 0.5 * front.compute[-1] ** 0.5)
    )
    anchor = (float(front.compute[middle]), float(values[middle]))
    ends = (front.upper_half(), float(front.compute[-1]))
    return guide(name, exponent, anchor, ends, f"f^{exponent:.3g}", below=below)


def _curves(curves: Mapping[float, RiskCurve], front: Frontier, batch: int) -> Plot:
    shown = list(curves)[::PER_DECADE]
    labels = ["frontier", *(f"d = {power_of_ten(d)}" for d in shown)]
    lines = curve(labels[0], front.compute, front.risk)
    for label, d in zip(labels[1:], shown, strict=True):
        found = curves[d]
        computes = found.steps * d * batch
        inside = computes >= LEAST_COMPUTE / 10
        lines += curve(label, computes[inside], found.risk[inside])
    top = 10 * float(front.risk[0])
    chart = log_chart(
        lines, labels, "compute d B t", "risk P", y_domain=(float(front.risk[-1]) / 3, top)
    )
    caption = (
        "DANA-decaying at some of the sizes. Each line falls until it meets its floor; the "
        "frontier lies below or on all of them."
    )
    return Plot("frontier-curves", "How the frontier comes about", caption, chart)


def _points(fronts: Mapping[str, Frontier]) -> list[Row]:
    return [
        {"method": name, "compute": float(f), "risk": float(risk), "d": float(d)}
        for name, front in fronts.items()
        for f, risk, d in zip(front.compute, front.risk, front.dimension, strict=True)
    ]
