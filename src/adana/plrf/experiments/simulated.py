"""Prediction against simulation: runs of a problem that is drawn, on the curve expected for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adana.checks import check_integer
from adana.plrf.curve import RiskCurve, SimulatedRisk, log_steps
from adana.plrf.experiments.charts import BY, curve, log_chart
from adana.plrf.experiments.result import Plot, Progress, Row, points, table, tracked
from adana.plrf.momentum import Momentum, default_step
from adana.plrf.problem import DrawnProblem
from adana.plrf.recursion import exact_moments
from adana.plrf.simulation import simulate
from adana.report.study_tables import Sheet

SETTLED = 100
"""Steps before this are left out of the comparison: the mean over few runs is heavy tailed there
(spec/plrf.md section 13.1)."""
PER_DECADE = 6
"""Steps that are recorded in a factor of ten."""


@dataclass(frozen=True)
class SimulationPart:
    """What the comparison adds to an experiment."""

    plot: Plot
    table: Sheet
    finding: str
    data: Sheet


def simulation_part(
    problem: DrawnProblem,
    methods: Callable[[float], Sequence[Momentum]],
    *,
    batch: int,
    total_steps: int,
    runs: int,
    name: str,
    progress: Progress,
    part: tuple[float, float],
    seed: int = 0,
) -> SimulationPart:
    """Simulate `methods`, made for the default step of the drawn problem, and compare.

    The expectation is the exact recursion on the very matrix that was drawn. `name` is that of the
    files; `part` the share of the experiment's whole work. Raises `ValueError` for less than two
    runs, or for steps that end before the comparison has begun.
    """
    check_simulation(runs, total_steps)
    start, end = part
    spectrum = problem.spectrum()
    chosen = methods(default_step(spectrum.trace, batch))
    steps = log_steps(total_steps, PER_DECADE)
    middle = (start + end) / 2
    exact = [
        exact_moments(spectrum, method, batch=batch, steps=steps)
        for method in tracked(chosen, progress, lambda m: f"recursion, {m.name}", (start, middle))
    ]
    what = f"simulating {runs} runs of {len(chosen)} methods"
    share = (end - middle) / total_steps
    found = simulate(
        spectrum,
        chosen,
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        seed=seed,
        steps=steps,
        progress=lambda done: progress(middle + share * done, what),
    )
    rows = agreement(exact, found)
    return SimulationPart(
        simulation_plot(name, exact, found),
        table(f"{name}-agreement", "Simulation against prediction", COLUMNS, rows),
        _finding(rows, exact, len(problem.eigenvalues)),
        points(name, "Simulated and expected risk", _rows(exact, found)),
    )


def check_simulation(runs: int, total_steps: int) -> None:
    """Raise `ValueError` unless so many runs of so many steps leave something to compare."""
    check_integer("runs (unless 0)", runs, low=2)
    check_integer("simulated_steps", total_steps, low=2 * SETTLED)


def agreement(exact: Sequence[RiskCurve], found: SimulatedRisk) -> list[Row]:
    """Return how the runs compare with the expectation from step 100 on, a row for each method.

    A run's ratio is averaged over the recorded steps first, so that its standard error over runs
    counts a spike that several steps share once. Where the expectation diverges, the steps after
    that are left out; numbers are None where it does so before step 100.
    """
    rows: list[Row] = []
    for i, expected in enumerate(exact):
        known = len(expected.steps)  # those of `found`, up to a divergence
        used = found.steps[:known] >= SETTLED
        ratios = found.risk[i][:, :known][:, used] / expected.risk[used]
        rows.append({"method": expected.name, "runs": len(ratios), **_compared(ratios)})
    return rows


def _compared(ratios: np.ndarray) -> dict[str, float | None]:
    """Return what ratios of shape (runs, steps) come to."""
    if not ratios.size:
        return dict.fromkeys(("mean ratio", "standard error", "largest gap"))
    each = ratios.mean(axis=1)
    return {
        "mean ratio": float(each.mean()),
        "standard error": float(each.std(ddof=1) / np.sqrt(len(each))),
        "largest gap": float(np.abs(ratios.mean(axis=0) - 1).max()),
    }


def simulation_plot(name: str, exact: Sequence[RiskCurve], found: SimulatedRisk) -> Plot:
    """Return the chart: lines are expectations, points means over runs with two standard errors."""
    labels = [expected.name for expected in exact]
    lines: list[Any] = []
    marks: list[Any] = []
    mean, error = found.mean(), found.standard_error()
    for i, expected in enumerate(exact):
        lines += curve(expected.name, expected.steps, expected.risk)
        known = len(expected.steps)  # beyond a divergence there is nothing to compare with
        for step, value, width in zip(
            expected.steps, mean[i, :known], error[i, :known], strict=True
        ):
            if step > 0 and value > 0:
                low = max(value - 2 * width, value / 10)
                bar = {"low": float(low), "high": float(value + 2 * width)}
                marks.append({BY: expected.name, "x": int(step), "y": float(value), **bar})
    chart = log_chart(lines, labels, "step t", "risk P", marks=marks)
    runs = found.risk.shape[1]
    caption = (
        f"Lines: the expected risk of the problem that was drawn, by the exact recursion. Points: "
        f"the mean over {runs} runs with fresh mini-batches, bars two standard errors of it. At "
        "small batches the risk of a run has rare high spikes, so the mean over few runs, with its "
        "bar, often lies low, and sometimes far above."
    )
    return Plot(name, "Simulated runs on the predicted curve", caption, chart)


COLUMNS = {
    "method": "what was simulated",
    "runs": "independent runs, each with its own batches",
    "mean ratio": "risk divided by the expected one, averaged over runs and over the recorded "
    f"steps from {SETTLED} on; - where that diverges before",
    "standard error": "of the mean ratio, over runs; too small where rare spikes carry the mean",
    "largest gap": "largest relative difference of the mean over runs at one of those steps",
}


def _finding(rows: Sequence[Row], exact: Sequence[RiskCurve], dimension: int) -> str:
    ratios = " and ".join(
        f"{row['mean ratio']:.3f} \N{PLUS-MINUS SIGN} {row['standard error']:.3f} times "
        f"({row['method']})"
        for row in rows
        if row["mean ratio"] is not None
    )
    where = f"a drawn problem with d = {dimension}"
    diverged = "".join(
        f" On {'it' if ratios else where} the expected risk of {expected.name} diverges after step "
        f"{expected.steps[-1]:,}; nothing later is compared."
        for expected in exact
        if expected.diverged
    )
    if not ratios:
        return diverged.strip()
    return (
        f"Simulated on {where}, the risk is {ratios} the expected one, averaged over "
        f"{rows[0]['runs']} runs and steps from {SETTLED} on.{diverged}"
    )


def _rows(exact: Sequence[RiskCurve], found: SimulatedRisk) -> list[Row]:
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
        for j, step in enumerate(expected.steps)
    ]
