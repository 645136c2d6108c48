"""Which damping is best: risk after T steps against kappa (spec/plrf.md section 12, figure 4)."""

from __future__ import annotations

import numpy as np

from adana.checks import check_range
from adana.plrf.blocks import integrate
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.charts import BY, curve, log_chart, vertical
from adana.plrf.experiments.defaults import ALPHA, BETA, DIMENSION
from adana.plrf.experiments.measure import lowest
from adana.plrf.experiments.result import (
    Plot,
    Progress,
    Result,
    Row,
    floor_caution,
    points,
    power_of_ten,
    powers_of_ten,
    silent,
    size_in_words,
    table,
    tracked,
)
from adana.plrf.momentum import dana_decaying, default_step, spectral_kappa
from adana.schedules import DELTA

FIRST_HORIZON = 1000
LARGEST_KAPPA = 1.2
VISIBLE = 100.0
"""Risks above this multiple of a horizon's lowest are not drawn: they would flatten its bowl."""


def kappa_experiment(
    alpha: float = ALPHA,
    beta: float = BETA,
    *,
    dimension: int = DIMENSION,
    batch: int = 1,
    total_steps: int = 10_000_000,
    gain: float = 1.0,
    delta: float = DELTA,
    spacing: float = 0.025,
    progress: Progress = silent,
) -> Result:
    """Integrate DANA with the momentum step `gain gamma2 (1+t)^-kappa` for kappa from 0 to 1.2.

    The result's table has the best kappa of each horizon T, the powers of ten and the last; theory
    puts it at 1/(2 alpha) as T grows. `alpha`, `beta`, `dimension` are those of `PLRF`.

    Raises:
        ValueError: parameters outside their range, or a horizon that no kappa survives.
    """
    check_range("gain", gain, low=0.0)
    check_range("spacing", spacing, low=0.0, high=0.2, low_open=True)
    horizons = powers_of_ten(FIRST_HORIZON, total_steps)
    spectrum = deterministic_spectrum(alpha, beta, dimension)
    step = default_step(spectrum.trace, batch)
    kappas = np.arange(0.0, LARGEST_KAPPA + spacing / 2, spacing)
    risks = np.full((len(horizons), len(kappas)), np.nan)
    for i, kappa in tracked(
        list(enumerate(kappas)), progress, lambda item: f"kappa = {item[1]:.3g}"
    ):
        method = dana_decaying(step, float(kappa), gain=gain, delta=delta)
        found = integrate(spectrum, method, batch=batch, total_steps=total_steps)
        risks[:, i] = [found.at(horizon) for horizon in horizons]
    theory = spectral_kappa(alpha)
    rows = [
        _best(kappas, risks[i], horizon, theory, spectrum.floor)
        for i, horizon in enumerate(horizons)
    ]
    return Result(
        name="kappa",
        title=f"Which damping is best at alpha = {alpha:g}",
        about=(
            "DANA's momentum step shrinks like (1 + t)^-kappa. With too little damping (small "
            "kappa) it grows too strong for the noise of the gradients, and the risk explodes; "
            "with kappa = 1 it is no faster than SGD. In between lies a best value, and theory "
            "says which: 1/(2 alpha), the growth exponent of the number of directions that "
            "training has already learned."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": size_in_words(dimension),
            "batch": f"{batch}",
            "gamma2": f"{step:.4g}",
            "gain c": f"{gain:g}",
            "delta": f"{delta:g}",
            "kappa": f"{len(kappas)} values from 0 to {kappas[-1]:.4g}",
        },
        findings=_findings(rows, theory, kappas, risks, batch),
        plots=(_plot(kappas, risks, horizons, rows, theory),),
        tables=(
            table(
                "kappa-best",
                "The best kappa of each horizon",
                {
                    "T": "steps of training",
                    "best kappa": "lowest point, by a parabola through the three values around it",
                    "1/(2 alpha)": "what it tends to, by theory; at most 1",
                    "lowest risk": "risk at the best of the values tried",
                    "floor / lowest": "share of it that no parameters can remove",
                    "edge": "end: the best is the smallest or largest value tried; divergence: a "
                    "value beside it diverges",
                    "cost of theory": "risk at the value tried nearest to 1/(2 alpha), divided by "
                    "the lowest",
                    "smallest stable": "smallest kappa whose risk is within 100 times the lowest",
                },
                rows,
            ),
        ),
        data=(
            points(
                "kappa",
                "Risk of every kappa at every horizon",
                [
                    {"T": horizon, "kappa": float(kappa), "risk": float(risks[i, j])}
                    for i, horizon in enumerate(horizons)
                    for j, kappa in enumerate(kappas)
                ],
            ),
        ),
    )


def _best(kappas: np.ndarray, risks: np.ndarray, horizon: int, theory: float, floor: float) -> Row:
    if not np.isfinite(risks).any():
        raise ValueError(f"every kappa diverges before step {horizon:,}: take a smaller gain")
    best = lowest(kappas, np.log(risks))
    nearest = int(np.argmin(np.abs(kappas - theory)))
    lowest_risk = float(np.nanmin(risks))
    stable = kappas[np.isfinite(risks) & (risks < VISIBLE * lowest_risk)]
    return {
        "T": horizon,
        "best kappa": round(best.x, 3),
        "1/(2 alpha)": theory,
        "lowest risk": lowest_risk,
        "floor / lowest": floor / lowest_risk,
        "edge": best.edge,
        "cost of theory": float(risks[nearest]) / lowest_risk,
        "smallest stable": float(stable[0]),
    }


def _findings(
    rows: list[Row], theory: float, kappas: np.ndarray, risks: np.ndarray, batch: int
) -> tuple[str, ...]:
    first, last = rows[0], rows[-1]
    sgd_like = float(risks[-1, int(np.argmin(np.abs(kappas - 1)))])
    edges = {
        None: (),
        "end": (
            f"That is the edge of the values tried (0 to {kappas[-1]:g}); the best may lie beyond.",
        ),
        "divergence": (
            "The value tried beside it diverges, so the best may lie between the two; take a finer "
            "spacing.",
        ),
    }
    return (
        f"After {last['T']:,} steps the best kappa is {last['best kappa']:.3f} (after "
        f"{first['T']:,}: {first['best kappa']:.3f}); theory puts it at {theory:.3f} in the limit.",
        *_batch_finding(batch, last["T"]),
        *edges[last["edge"]],
        *floor_caution(last["floor / lowest"], last["T"]),
        f"At the last horizon kappa = 1/(2 alpha) {_cost(last['cost of theory'])}, kappa = 1 "
        f"{_cost(sgd_like / last['lowest risk'])}.",
    )


def _batch_finding(batch: int, total_steps: int) -> tuple[str, ...]:
    """Say what a batch does to the best kappa (spec/plrf.md sections 8.1 and 12.4)."""
    if batch == 1:
        return ()
    lower = np.log(batch) / np.log(total_steps)
    return (
        f"The noise allows a gain c that grows with the batch, but c is kept: at batch {batch} "
        "that makes the best kappa lower than at batch 1, by about ln(batch)/ln T = "
        f"{lower:.2f} after {total_steps:,} steps. Theory's 1/(2 alpha) is for the best c.",
    )


def _cost(factor: float) -> str:
    if not np.isfinite(factor):
        return "diverges"
    return f"has {factor:.3g} times the lowest risk"


def _plot(
    kappas: np.ndarray, risks: np.ndarray, horizons: list[int], rows: list[Row], theory: float
) -> Plot:
    labels = [f"T = {power_of_ten(horizon)}" for horizon in horizons]
    lines, marks = [], []
    for label, row, risk in zip(labels, rows, risks, strict=True):
        shown = np.where(risk < VISIBLE * row["lowest risk"], risk, np.nan)
        lines += curve(label, np.maximum(kappas, 1e-12), shown)
        best = float(np.interp(row["best kappa"], kappas, risk))
        marks.append({BY: label, "x": row["best kappa"], "y": best})
    ends = (min(row["y"] for row in lines), max(row["y"] for row in lines))
    chart = log_chart(
        lines,
        labels,
        "damping kappa",
        "risk P after T steps",
        guides=vertical(labels[0], theory, ends, "1/(2 alpha)"),
        marks=marks,
        x_log=False,
    )
    caption = (
        "A line for each training length T; its point is the lowest. The dotted upright line is "
        "1/(2 alpha). A line ends at the left where the method diverges, or where its risk is more "
        f"than {VISIBLE:g} times the lowest of that T."
    )
    return Plot("kappa", "Risk after T steps against damping", caption, chart)
