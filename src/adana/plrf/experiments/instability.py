"""Why log-time momentum needs damping and a fresh gradient (spec section 12, figure 6; section 8).

Two parts: predictions for momentum without damping at many batch sizes, and runs of the library's
own optimizers with a part of ADana taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adana.checks import check_integer, check_range
from adana.plrf.blocks import integrate
from adana.plrf.curve import RiskCurve
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.ablated import ablated_data, ablated_findings, ablated_part
from adana.plrf.experiments.charts import BY, curve, log_chart
from adana.plrf.experiments.defaults import ALPHA, BETA, DIMENSION
from adana.plrf.experiments.drawn import draw_problem
from adana.plrf.experiments.measure import power_law
from adana.plrf.experiments.result import (
    Plot,
    Progress,
    Result,
    Row,
    points,
    silent,
    size_in_words,
    table,
    tracked,
)
from adana.plrf.momentum import log_nesterov, spectral_kappa
from adana.plrf.problem import PLRF
from adana.plrf.spectrum import Spectrum
from adana.plrf.stability import gain_crossing
from adana.schedules import DELTA

BATCHES = (1, 4, 16, 64, 256, 1024, float("inf"))
EARLY = 100
"""Earliest explosion that the law is fitted to: before, it is about single steps."""
TOP = 100.0
"""Risks above this multiple of the start are not drawn."""


def instability_experiment(
    alpha: float = ALPHA,
    beta: float = BETA,
    *,
    dimension: int = DIMENSION,
    batches: Sequence[float] = BATCHES,
    total_steps: int = 100_000_000,
    first_step: float = 0.05,
    delta: float = DELTA,
    ablated_dimension: int = 200,
    ablated_batch: int = 32,
    ablated_steps: int = 4000,
    runs: int = 4,
    progress: Progress = silent,
) -> Result:
    """Integrate undamped log-time momentum at several batches, and run ADana with parts removed.

    `first_step` is gamma2 times the largest eigenvalue. With `runs = 0` only the predictions are
    computed. Theory: the risk turns up at a time that grows like batch^(2 alpha); with exact
    gradients (an infinite batch) it never does.

    Raises:
        ValueError: parameters outside their range.
    """
    if not batches:
        raise ValueError("batches must name at least one value, say 1")
    check_range("first_step", first_step, low=0.0, high=1.0, low_open=True)
    check_integer("runs", runs, low=0)
    if runs:
        drawn = draw_problem(PLRF(alpha, beta, ablated_dimension), "ablated_dimension")
    progress(0.0, "the deterministic spectrum")
    spectrum = deterministic_spectrum(alpha, beta, dimension)
    method = log_nesterov(first_step / float(spectrum.eigenvalues.max()), delta=delta)
    part = (0.05, 0.3 if runs else 1.0)
    curves, rows = [], []
    for batch in tracked(list(batches), progress, lambda b: f"batch {_name(b)}", part):
        found = integrate(spectrum, method, batch=batch, total_steps=total_steps)
        curves.append(found)
        rows.append(_row(spectrum, found, batch, gain_crossing(
            spectrum, method, batch=batch, total_steps=total_steps
        )))  # fmt: skip
    plots = [_plot(curves, rows, spectrum)]
    findings = list(_findings(rows, alpha))
    tables = [table("instability-batches", "Undamped momentum", COLUMNS, rows)]
    data = [points("instability", "Risk of undamped momentum", _points(curves, rows))]
    if runs:
        runs_of = ablated_part(
            drawn,
            alpha,
            batch=ablated_batch,
            total_steps=ablated_steps,
            runs=runs,
            progress=progress,
            part=(part[1], 1.0),
        )
        plots.append(runs_of.plot)
        tables.append(runs_of.table)
        findings += ablated_findings(runs_of)
        data.append(ablated_data(runs_of))
    return Result(
        name="instability",
        title=f"Why log-time momentum is damped, at alpha = {alpha:g}",
        about=(
            "Undamped log-time momentum, the natural Nesterov of a memory that grows with t, "
            "multiplies the average of the gradients by delta + t. The average holds noise of all "
            "directions already learned, their number grows with t, and at some time the noise it "
            "feeds back exceeds what it removes: the risk turns up and explodes. A larger batch "
            "postpones that, until it meets the number of parameters. Below, the same with the "
            "optimizers that train language models: ADana, and ADana with its damping or its "
            "fresh gradient taken away."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": size_in_words(dimension),
            "gamma2 lambda_1": f"{first_step:g}",
            "delta": f"{delta:g}",
            "steps": f"{total_steps:,}",
            **(
                {
                    "runs of the optimizers": f"{runs} each of {ablated_steps:,} steps with batch "
                    f"{ablated_batch}, d = {ablated_dimension}, drawn, constant learning rates"
                }
                if runs
                else {}
            ),
        },
        findings=tuple(findings),
        plots=tuple(plots),
        tables=tuple(tables),
        data=tuple(data),
        sometimes=("instability-optimizers", "instability-optimizers-rates"),
    )


COLUMNS = {
    "batch": "samples a step; exact: infinitely many",
    "lowest at": "step of the lowest risk",
    "lowest risk": "that risk",
    "gain 1 at": "step at which the noise gain F of the schedules frozen there reaches 1",
    "exploded at": "step at which the risk exceeded a million times its start",
}


def _row(spectrum: Spectrum, found: RiskCurve, batch: float, crossing: float) -> dict[str, Any]:
    i = int(np.argmin(found.risk))
    return {
        "batch": _name(batch),
        "lowest at": int(found.steps[i]),
        "lowest risk": float(found.risk[i]),
        "gain 1 at": crossing if np.isfinite(crossing) else None,
        "exploded at": int(found.steps[-1]) if found.diverged else None,
        "floor": spectrum.floor,
    }


def _name(batch: float) -> str:
    return "exact" if np.isinf(batch) else f"{batch:g}"


def _findings(rows: Sequence[Row], alpha: float) -> tuple[str, ...]:
    finite = [row for row in rows if row["batch"] != "exact"]
    exploded = [row for row in finite if row["exploded at"] is not None]
    said = []
    if finite:
        said.append(
            f"Undamped momentum exploded at {len(exploded)} of {len(finite)} finite batches within "
            "the steps computed."
        )
    quiet = [row["batch"] for row in finite if row["gain 1 at"] is None]
    if quiet:
        said.append(
            f"At batch {', '.join(quiet)} its noise gain did not reach 1: the batch is too large "
            "for so few steps or parameters."
        )
    fitted = [row for row in exploded if row["exploded at"] >= EARLY]
    if len(fitted) >= 2:
        exponent, _ = power_law(
            [float(row["batch"]) for row in fitted], [row["exploded at"] for row in fitted]
        )
        said.append(
            f"The step of the explosion grows like batch^{exponent:.2f} (batches "
            f"{fitted[0]['batch']} to {fitted[-1]['batch']}); theory says "
            f"batch^{1 / spectral_kappa(alpha):.3g}, with far more parameters than that."
        )
    exact = [row for row in rows if row["batch"] == "exact"]
    if exact:
        row = exact[0]
        ended = (
            f"exploded at step {row['exploded at']:,}"
            if row["exploded at"]
            else "did not explode within the steps computed; its lowest risk is "
            f"{row['lowest risk'] / row['floor']:.4g} times that of the best parameters"
        )
        said.append(f"With exact gradients undamped momentum {ended}.")
    return tuple(said)


def _plot(curves: Sequence[RiskCurve], rows: Sequence[Row], spectrum: Spectrum) -> Plot:
    labels = [
        "exact gradients" if row["batch"] == "exact" else f"batch {row['batch']}" for row in rows
    ]
    lines: list[Any] = []
    marks: list[Any] = []
    for label, found, row in zip(labels, curves, rows, strict=True):
        lines += curve(
            label, found.steps, np.where(found.risk < TOP * spectrum.start, found.risk, np.nan)
        )
        if row["exploded at"] is not None:
            marks.append({BY: label, "x": row["lowest at"], "y": row["lowest risk"]})
    marks = [mark for mark in marks if mark["x"] > 0]
    chart = log_chart(
        lines, labels, "step t", "risk P", marks=marks,
        y_domain=(0.5 * min(row["y"] for row in lines), TOP * spectrum.start),
    )  # fmt: skip
    caption = (
        "Expected risk with the multiplier delta + t on the average. A point marks the lowest risk "
        "of a batch whose training then explodes."
    )
    return Plot("instability", "Undamped momentum falls, then explodes", caption, chart)


def _points(curves: Sequence[RiskCurve], rows: Sequence[Row]) -> list[Row]:
    return [
        {"batch": row["batch"], "step": int(step), "risk": float(risk)}
        for found, row in zip(curves, rows, strict=True)
        for step, risk in zip(found.steps, found.risk, strict=True)
    ]
