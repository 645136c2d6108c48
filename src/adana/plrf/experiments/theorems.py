"""The theorems on log-time averages as three small experiments: what stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adana.checks import check_integer, check_range
from adana.plrf.experiments.charts import curve, guide, log_chart
from adana.plrf.experiments.result import Plot, Progress, Result, Row, points, silent, table
from adana.plrf.theorems import (
    CONTENDERS,
    LR,
    Excursions,
    Growth,
    absolute_value,
    absolute_value_exponent,
    adam_excursion_bound,
    rare_coordinates,
    sparse_gradients,
)

DELTAS = (0.1, 0.25, 1.0, 8.0)
EVENTS = 20
"""Gradients that a run on sparse ones sees on average."""
LATE = 0.03
"""Share of a run from which on exponents are fitted."""


def theorems_experiment(
    *,
    deltas: Sequence[float] = DELTAS,
    total_steps: int = 20_000,
    rare_steps: int = 3000,
    rarest: float = 1e-3,
    runs: int = 64,
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """Run the optimizers on sums of |theta|: dense, with ever rarer coordinates, and sparse.

    `deltas` and `total_steps` are of the first, `rare_steps` of the second, `rarest` (the smallest
    probability of a gradient) and `runs` of the third.

    Raises:
        ValueError: arguments out of range.
    """
    check_integer("rare_steps", rare_steps, low=100)
    check_integer("total_steps", total_steps, low=1000)
    check_integer("runs", runs, low=1)
    check_range("rarest", rarest, low=1e-5, high=0.1, low_open=True)
    dense = absolute_value(
        list(deltas),
        total_steps=total_steps,
        progress=lambda t: progress(0.3 * t / total_steps, f"dense, step {t:,}"),
    )
    rare = rare_coordinates(
        total_steps=rare_steps,
        seed=seed,
        progress=lambda t: progress(0.3 + 0.1 * t / rare_steps, f"ever rarer, step {t:,}"),
    )
    probabilities = np.geomspace(0.1, rarest, round(2 * np.log10(0.1 / rarest)) + 1)
    sparse = sparse_gradients(
        list(probabilities),
        events=EVENTS,
        runs=runs,
        seed=seed,
        progress=lambda t: progress(0.4 + 0.6 * t * rarest / EVENTS, f"sparse, step {t:,}"),
    )
    dense_rows, rare_rows = _dense_rows(dense, deltas), _rare_rows(rare, sparse)
    return Result(
        name="theorems",
        title="Which averages keep weights bounded",
        about=(
            "Three statements of the paper on log-time averages, shown on the simplest functions "
            "with bounded gradients, sums of |theta|. Log-AdamW, whose averages remember a share "
            "of all training, can diverge there; Adam, with a constant memory, cannot; and "
            "log-time schedules stay bounded on sparse gradients if steps are scaled by sqrt(p), p "
            "being the probability of a gradient. The functions, the bound and the exponents are "
            "this project's: the paper's text was not at hand."
        ),
        settings={
            "learning rate": f"{LR:g}, constant; no weight decay",
            "dense": f"{total_steps:,} steps on |theta| from 1, no randomness",
            "rarer coordinates": f"{rare_steps:,} steps, coordinate i active with probability 1/i",
            "sparse": f"{runs} runs for each p down to {rarest:g}, {EVENTS}/p steps",
            "Adam": "betas 0.9 and 0.99",
            "seed": f"{seed}",
        },
        findings=_findings(dense_rows, rare_rows, sparse),
        plots=(_dense_plot(dense, deltas), _rare_plot(rare), _sparse_plot(sparse)),
        tables=(
            table(
                "theorems-sparse-exponents",
                "Rare and sparse gradients",
                {
                    "method": "optimizer; x sqrt(p): its steps are multiplied by that",
                    "grows like t^": "fitted exponent of the furthest weight with ever rarer "
                    "coordinates, over the last part of the run",
                    "strays like p^": "fitted exponent in p of the furthest weight in the second "
                    "half of training on sparse gradients; 0: bounded alike",
                    "furthest": "largest distance of any run at any p, in learning rates",
                },
                rare_rows,
            ),
            table(
                "theorems-dense-exponents",
                "One coordinate, always active",
                {
                    "method": "optimizer",
                    "grows like t^": "fitted exponent of the furthest weight",
                    "theory": "ours: 1 - 2 (1 + delta)/3 where it is positive; else bounded",
                },
                dense_rows,
            ),
        ),
        data=(
            points("theorems-dense", "One coordinate", _growth_points(dense)),
            points("theorems-rare", "Ever rarer coordinates", _growth_points(rare)),
            points("theorems-sparse", "Sparse gradients", _sparse_points(sparse)),
        ),
    )


def _dense_rows(dense: Growth, deltas: Sequence[float]) -> list[Row]:
    fitted = dense.exponents(LATE * float(dense.steps[-1]))
    theory = [absolute_value_exponent(delta) for delta in deltas]
    rows: list[Row] = [
        {
            "method": name,
            "grows like t^": round(float(exponent), 3),
            "theory": round(expected, 3) if expected is not None and expected > 0 else None,
        }
        for name, exponent, expected in zip(dense.names, fitted, [*theory, None], strict=True)
    ]
    return rows


def _rare_rows(rare: Growth, sparse: Excursions) -> list[Row]:
    growth = rare.exponents(LATE * float(rare.steps[-1]))
    strays = sparse.exponents()
    furthest = sparse.largest.max(axis=1) / LR
    return [
        {
            "method": name,
            "grows like t^": round(float(growth[i]), 3),
            "strays like p^": round(float(strays[i]), 3),
            "furthest": float(furthest[i]),
        }
        for i, name in enumerate(CONTENDERS)
    ]


def _findings(dense: Sequence[Row], rows: Sequence[Row], sparse: Excursions) -> tuple[str, ...]:
    of = {row["method"]: row for row in rows}
    diverging = [row for row in dense if row["theory"] is not None]
    said = [
        "With ever rarer coordinates the furthest weight grows like "
        f"t^{of['Log-AdamW']['grows like t^']:.2f} with Log-AdamW and like "
        f"t^{of['Adam']['grows like t^']:.2f} with Adam (theory: 1/2, and bounded).",
        f"Adam never strayed further than {of['Adam']['furthest']:.3g} learning rates, start "
        f"included; the bound is {adam_excursion_bound(LR) / LR:.3g}, whatever the sparsity.",
        "On sparse gradients Log-AdamW strays like "
        f"p^{of['Log-AdamW']['strays like p^']:.2f} and ADana like "
        f"p^{of['ADana']['strays like p^']:.2f}; scaled by sqrt(p) like "
        f"p^{of['Log-AdamW x sqrt(p)']['strays like p^']:.2f} and "
        f"p^{of['ADana x sqrt(p)']['strays like p^']:.2f}, and Dana-Star, which estimates p "
        f"itself, like p^{of['Dana-Star']['strays like p^']:.2f}.",
    ]
    if diverging:
        said.append(
            "Even on a dense |theta| Log-AdamW's swings grow where its memory is too long: "
            + ", ".join(
                f"{row['method'].removeprefix('Log-AdamW, ')} like t^{row['grows like t^']:.2f} "
                f"(theory {row['theory']:.2f})"
                for row in diverging
            )
            + "."
        )
    return tuple(said)


def _dense_plot(dense: Growth, deltas: Sequence[float]) -> Plot:
    labels = ["Adam", *(name for name in dense.names if name != "Adam")]
    lines: list[Any] = []
    guides: list[Any] = []
    end = float(dense.steps[-1])
    for i, name in enumerate(dense.names):
        lines += curve(name, dense.steps, dense.furthest[i])
    for i, delta in enumerate(deltas):
        exponent = absolute_value_exponent(delta)
        if exponent > 0:
            height = 2 * float(dense.furthest[i, -4:].max())
            guides += guide(
                dense.names[i], exponent, (end, height), (end / 100, end), f"t^{exponent:.3g}"
            )
    chart = log_chart(lines, labels, "step t", "furthest |theta|", guides=guides)
    caption = (
        "Log-AdamW and Adam on the function |theta| from theta = 1, learning rate 0.1, no "
        "randomness: the largest |theta| since the point before. Dotted: the exponent of theory. "
        "A delta below 1/2 remembers so long that the swings through the minimum grow; usual ones "
        "(8) shrink them to the size of a step."
    )
    return Plot(
        "theorems-dense", "A memory that is too long swings further and further", caption, chart
    )


def _rare_plot(rare: Growth) -> Plot:
    labels = list(rare.names)
    lines: list[Any] = []
    for i, name in enumerate(rare.names):
        lines += curve(name, rare.steps, rare.furthest[i])
    end = float(rare.steps[-1])
    top = 1.5 * float(rare.furthest[labels.index("ADana"), -1])
    guides = guide("ADana", 0.5, (end, top), (end / 30, end), "t^0.5")
    chart = log_chart(lines, labels, "step t", "furthest |theta_i|", guides=guides)
    caption = (
        "A sum of |theta_i| in which coordinate i has a gradient with probability 1/i, as rare "
        "words have: new coordinates keep turning up. The furthest weight of all, from 0.1. "
        "Unscaled log-time averages carry a weight further the later its first gradient comes."
    )
    return Plot("theorems", "Ever rarer gradients: bounded, or not", caption, chart)


def _sparse_plot(sparse: Excursions) -> Plot:
    labels = list(sparse.names)
    lines: list[Any] = []
    order = np.argsort(sparse.probabilities)
    for i, name in enumerate(sparse.names):
        lines += curve(name, sparse.probabilities[order], sparse.late[i][order])
    ends = (float(sparse.probabilities.min()), float(sparse.probabilities.max()))
    height = 1.5 * float(sparse.late[labels.index("ADana"), order[0]])
    guides = guide("ADana", -0.5, (ends[0], height), ends, "1/sqrt(p)")
    chart = log_chart(
        lines, labels, "probability p of a gradient", "furthest |theta|, second half",
        guides=guides, marks=lines,
    )  # fmt: skip
    caption = (
        "One weight on |theta| whose gradient is zero but for a share p of all steps, trained for "
        f"{EVENTS}/p steps from 1: the furthest it strays in the second half, mean over runs. "
        "Rising to the left: unbounded as gradients become rare. Flat or falling: bounded."
    )
    return Plot("theorems-sparse", "How far a rarely trained weight strays", caption, chart)


def _growth_points(growth: Growth) -> list[Row]:
    return [
        {"method": name, "step": int(step), "furthest": float(growth.furthest[i, j])}
        for i, name in enumerate(growth.names)
        for j, step in enumerate(growth.steps)
    ]


def _sparse_points(sparse: Excursions) -> list[Row]:
    return [
        {
            "method": name,
            "p": float(p),
            "furthest": float(sparse.furthest[i, j]),
            "late": float(sparse.late[i, j]),
            "largest": float(sparse.largest[i, j]),
        }
        for i, name in enumerate(sparse.names)
        for j, p in enumerate(sparse.probabilities)
    ]
