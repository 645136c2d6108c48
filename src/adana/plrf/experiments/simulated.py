"""Prediction against simulation: runs of a problem that is drawn, on the curve expected for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adana.plrf.curve import RiskCurve, SimulatedRisk, log_steps
from adana.plrf.experiments.charts import BY, curve, log_chart
from adana.plrf.experiments.result import Plot, Progress, Row, tracked
from adana.plrf.momentum import Momentum
from adana.plrf.problem import PLRF
from adana.plrf.recursion import exact_moments
from adana.plrf.simulate import simulate

SETTLED = 100
"""Steps before this are left out of the comparison: the mean over few runs is heavy tailed there
(spec/plrf.md section 13.1)."""
PER_DECADE = 6
"""Steps that are recorded in a factor of ten."""


def simulated_curves(
    problem: PLRF,
    methods: Sequence[Momentum],
    *,
    batch: int,
    total_steps: int,
    runs: int,
    progress: Progress,
    part: tuple[float, float],
) -> tuple[list[RiskCurve], SimulatedRisk]:
    """Return the exact expectation and the runs of every method on one drawn problem."""
    progress(part[0], f"drawing a problem of {problem.dimension} parameters")
    spectrum = problem.draw().spectrum()
    steps = log_steps(total_steps, PER_DECADE)
    middle = (part[0] + part[1]) / 2
    exact = [
        exact_moments(spectrum, method, batch=batch, steps=steps)
        for method in tracked(
            methods, progress, lambda m: f"exact recursion, {m.name}", (part[0], middle)
        )
    ]
    progress(middle, f"simulating {runs} runs of {len(methods)} methods")
    found = simulate(
        spectrum,
        methods,
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        seed=problem.seed,
        steps=steps,
    )
    return exact, found


def agreement(exact: Sequence[RiskCurve], found: SimulatedRisk) -> list[Row]:
    """Return how the mean over runs compares with the expectation from step 100 on, a row each."""
    mean, error = found.mean(), found.standard_error()
    rows: list[Row] = []
    for i, expected in enumerate(exact):
        used = found.steps >= SETTLED
        ratio = mean[i, used] / expected.risk[used]
        rows.append(
            {
                "method": expected.name,
                "runs": found.risk.shape[1],
                "mean ratio": float(ratio.mean()),
                "largest gap": float(np.abs(ratio - 1).max()),
                "largest z": float(
                    np.abs((mean[i, used] - expected.risk[used]) / error[i, used]).max()
                ),
            }
        )
    return rows


def simulation_plot(name: str, exact: Sequence[RiskCurve], found: SimulatedRisk) -> Plot:
    """Return the chart: lines are expectations, points means over runs with two standard errors."""
    labels = [expected.name for expected in exact]
    lines: list[Any] = []
    marks: list[Any] = []
    mean, error = found.mean(), found.standard_error()
    for i, expected in enumerate(exact):
        lines += curve(expected.name, expected.steps, expected.risk)
        for step, value, width in zip(found.steps, mean[i], error[i], strict=True):
            if step > 0 and value > 0:
                low = max(value - 2 * width, value / 10)
                bar = {"low": float(low), "high": float(value + 2 * width)}
                marks.append({BY: expected.name, "x": int(step), "y": float(value), **bar})
    chart = log_chart(lines, labels, "step t", "risk P", marks=marks)
    runs = found.risk.shape[1]
    caption = (
        f"Lines: the expected risk of the problem that was drawn, by the exact recursion. Points: "
        f"the mean over {runs} runs with fresh mini-batches, bars two standard errors of it. At "
        "small t single runs are wild, and a mean over few of them, with its bar, tends to lie low."
    )
    return Plot(name, "Simulated runs on the predicted curve", caption, chart)


def rows_of(exact: Sequence[RiskCurve], found: SimulatedRisk) -> list[Row]:
    """Return the points of the chart as rows of a file."""
    mean, error = found.mean(), found.standard_error()
    return [
        {
            "method": expected.name,
            "step": int(step),
            "expected": float(expected.risk[j]),
            "mean": float(mean[i, j]),
            "standard error": float(error[i, j]),
        }
        for i, expected in enumerate(exact)
        for j, step in enumerate(found.steps)
    ]
