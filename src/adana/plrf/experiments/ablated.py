"""ADana and ADana with a part taken away, as they train the model: the library's own optimizers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer

from adana.optim import ABLATIONS, AblatedADana, ADana
from adana.plrf.adaptive import simulate_adaptive
from adana.plrf.curve import SimulatedRisk, log_steps
from adana.plrf.experiments.charts import curve, guide, log_chart
from adana.plrf.experiments.result import Plot, Progress, Row, points, table
from adana.plrf.momentum import spectral_kappa
from adana.plrf.problem import DrawnProblem
from adana.report.study_tables import Sheet

RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Learning rates tried with every method; they are constant over a run."""

METHODS: dict[str, dict[str, Any]] = {
    "ADana": {},
    "Log-AdamW": ABLATIONS["log-adamw"],
    "Log-NAdamW": ABLATIONS["log-nadamw"],
    "no gradient": ABLATIONS["adana-no-gradient"],
}
"""What is compared: what `AblatedADana` takes away from ADana."""

PER_DECADE = 10


@dataclass(frozen=True)
class AblatedRuns:
    """The runs, by method and learning rate, and what is made of them."""

    found: SimulatedRisk
    rows: list[dict[str, Any]]
    best: dict[str, int]
    """Index in `found` of each method's learning rate with the lowest final risk."""
    plot: Plot
    table: Sheet


def ablated_part(
    drawn: DrawnProblem,
    alpha: float,
    *,
    batch: int,
    total_steps: int,
    runs: int,
    progress: Progress,
    part: tuple[float, float],
) -> AblatedRuns:
    """Train a drawn problem with every method at every learning rate of `RATES`."""
    kappa = spectral_kappa(alpha)
    keys = [(name, lr) for name in METHODS for lr in RATES]
    share = (part[1] - part[0]) / total_steps
    found = simulate_adaptive(
        drawn,
        {f"{name} {lr:g}": _maker(name, lr, kappa) for name, lr in keys},
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        steps=log_steps(total_steps, PER_DECADE),
        progress=lambda done: progress(
            part[0] + share * done, f"{len(keys)} optimizers, step {done:,}"
        ),
    )
    mean = found.mean()
    rows = [
        _row(name, lr, risk, found.steps, drawn.twice_floor / 2)
        for (name, lr), risk in zip(keys, mean, strict=True)
    ]
    best = {name: _best(name, keys, mean[:, -1]) for name in METHODS}
    return AblatedRuns(found, rows, best, _plot(found, rows, best, kappa), _table(rows))


def ablated_findings(runs: AblatedRuns) -> list[str]:
    """Say what is left of each method at its best rate, and which ones turn up."""
    chosen = {name: runs.rows[i] for name, i in runs.best.items()}
    losses = ", ".join(
        f"{name} {row['final risk']:.3g} (lr {row['lr']:g}{_edge(row['lr'])})"
        for name, row in chosen.items()
    )
    turns = ", ".join(
        f"{name} by factors {min(ratios):.3g} to {max(ratios):.3g}"
        for name in METHODS
        if (ratios := [row["final / lowest"] for row in runs.rows if row["method"] == name])
    )
    floor = runs.rows[0]["floor"]
    return [
        f"The optimizers' final risk at the best of {len(RATES)} learning rates, above a floor of "
        f"{floor:.3g}: {losses}.",
        f"How far the risk had risen again at the end, over all learning rates: {turns}.",
    ]


def ablated_data(runs: AblatedRuns) -> Sheet:
    """Return the mean risks as points for a file."""
    mean = runs.found.mean()
    rows = [
        {"method": row["method"], "lr": row["lr"], "step": int(step), "risk": float(mean[i, j])}
        for i, row in enumerate(runs.rows)
        for j, step in enumerate(runs.found.steps)
    ]
    return points("instability-optimizers", "Mean risk of the optimizers", rows)


def _edge(lr: float) -> str:
    return {RATES[0]: ", the lowest tried", RATES[-1]: ", the highest tried"}.get(lr, "")


def _maker(name: str, lr: float, kappa: float) -> Callable[[list[nn.Parameter]], Optimizer]:
    missing = METHODS[name]
    settings: dict[str, Any] = {"lr": lr, "omega": 0.0, "kappa": kappa, **missing}
    return partial(AblatedADana if missing else ADana, **settings)


def _row(name: str, lr: float, risk: np.ndarray, steps: np.ndarray, floor: float) -> dict[str, Any]:
    lowest = float(np.nanmin(risk))
    return {
        "method": name,
        "lr": lr,
        "lowest risk": lowest,
        "lowest at": int(steps[int(np.nanargmin(risk))]),
        "final risk": float(risk[-1]),
        "final / lowest": float(risk[-1]) / lowest,
        "floor": floor,
    }


def _best(name: str, keys: list[tuple[str, float]], final: np.ndarray) -> int:
    own = [i for i, (method, _) in enumerate(keys) if method == name]
    return min(own, key=lambda i: final[i] if np.isfinite(final[i]) else np.inf)


def _plot(
    found: SimulatedRisk, rows: list[dict[str, Any]], best: dict[str, int], kappa: float
) -> Plot:
    mean = found.mean()
    labels = [f"{name}, lr {rows[i]['lr']:g}" for name, i in best.items()]
    lines: list[Row] = []
    for label, i in zip(labels, best.values(), strict=True):
        lines += curve(label, found.steps, mean[i])
    ends = (1.0, float(found.steps[-1]))
    floor = guide(labels[0], 0.0, (1.0, rows[0]["floor"]), ends, "the best parameters")
    chart = log_chart([dict(row) for row in lines], labels, "step t", "mean risk P", guides=floor)
    caption = (
        f"ADana with kappa = {kappa:.3g}; Log-AdamW has the log-time averages alone; Log-NAdamW "
        "adds the fresh gradient to undamped momentum; no gradient is ADana's damped momentum "
        "without the fresh gradient. Each at the learning rate with the lowest final risk, mean "
        f"over {found.risk.shape[1]} runs."
    )
    return Plot("instability-optimizers", "ADana with a part taken away", caption, chart)


def _table(rows: list[dict[str, Any]]) -> Sheet:
    return table(
        "instability-optimizers-rates",
        "Every learning rate of the optimizers",
        {
            "method": "ADana, or what is left of it",
            "lr": "learning rate, constant",
            "lowest risk": "lowest mean risk over the runs, at any recorded step",
            "lowest at": "the step of that",
            "final risk": "mean risk at the last step",
            "final / lowest": "how far it had risen again",
        },
        rows,
    )
