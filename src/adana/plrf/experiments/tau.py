"""What the Star optimizers' activity estimate becomes (spec/plrf.md section 12, figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from adana.checks import check_integer, check_range
from adana.optim import DanaStarMK4
from adana.plrf.experiments.charts import BY, curve, log_chart
from adana.plrf.experiments.defaults import (
    ALPHA,
    EXPERT_BATCH,
    EXPERT_BETA,
    EXPERT_DIMENSION,
    EXPERTS,
    EXPONENT,
)
from adana.plrf.experiments.result import Plot, Progress, Result, Row, points, silent, table
from adana.plrf.mixture import expert_probabilities
from adana.plrf.problem import PLRF
from adana.plrf.tau import TauStatistics, expected_tau, tau_statistics

FIRST = 1000
"""The first checkpoint; the others are twice the one before."""
ORDERED = 0.9
"""Rank correlation from which on experts are said to be in order."""
SHOWN = 5
"""Experts named in the findings, from the most to the least used."""


def tau_experiment(
    alpha: float = ALPHA,
    beta: float = EXPERT_BETA,
    *,
    dimension: int = EXPERT_DIMENSION,
    experts: int = EXPERTS,
    exponent: float = EXPONENT,
    batch: int = EXPERT_BATCH,
    total_steps: int = 8000,
    lr: float = 3e-3,
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """Train a mixture of experts with Dana-Star-MK4 and look at tau at 1000, 2000, 4000, ... steps.

    Samples go to expert i with a probability like `i^-exponent`. Theory for Gaussian gradients:
    `tau = q E[|xi| / (|xi| + sqrt(q))]` for an expert that is active with probability q.

    Raises:
        ValueError: parameters outside their range.
    """
    check_integer("experts", experts, low=2)
    check_integer("total_steps", total_steps, low=FIRST)
    check_range("lr", lr, low=0.0, low_open=True)
    chances = expert_probabilities(experts, exponent)
    checkpoints = [FIRST * 2**k for k in range(int(np.log2(total_steps / FIRST)) + 1)]
    progress(0.0, "drawing the problem")
    found = tau_statistics(
        PLRF(alpha, beta, dimension, seed=seed).draw(),
        partial(DanaStarMK4, lr=lr, omega=0.0, foreach=False),
        chances,
        batch=batch,
        steps=checkpoints,
        seed=seed,
        progress=lambda done: progress(done / checkpoints[-1], f"step {done:,}"),
    )
    rows = _rows(found)
    return Result(
        name="tau",
        title="The activity estimate of the Star optimizers",
        about=(
            f"{experts} experts share the features; most samples go to a few of them, as most "
            "tokens are a few words. Dana-Star keeps an estimate tau for each weight: the average "
            "of |g| / (|g| + sqrt(v)), which is small where gradients are mostly zero, and takes "
            "from it how many steps a weight has really been trained. Nobody tells it the "
            "probabilities."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": f"{dimension} parameters for each expert, drawn",
            "experts": f"{experts}, expert i with a probability like i^-{exponent:g}",
            "batch": f"{batch}, so the last expert has a gradient in "
            f"{found.active[-1]:.3g} of all steps",
            "optimizer": f"Dana-Star-MK4, learning rate {lr:g}, no weight decay",
            "seed": f"{seed}",
        },
        findings=_findings(found, rows),
        plots=(_by_activity(found), _distribution(found)),
        tables=(
            table(
                "tau-experts",
                f"Experts at step {checkpoints[-1]:,}",
                {
                    "expert": "the i-th most used",
                    "active": "probability q that a step has a gradient for it",
                    "tau": "mean over its weights",
                    "expected": "q E[|xi| / (|xi| + sqrt(q))], for Gaussian gradients that do not "
                    "shrink",
                    "ratio": "measured over expected",
                },
                rows,
            ),
        ),
        data=(points("tau", "Mean tau of every expert", _points(found)),),
    )


def _rows(found: TauStatistics) -> list[Row]:
    last = found.tau[-1].mean(axis=-1)
    expected = expected_tau(found.active)
    return [
        {
            "expert": i + 1,
            "active": float(found.active[i]),
            "tau": float(last[i]),
            "expected": float(expected[i]),
            "ratio": float(last[i] / expected[i]),
        }
        for i in range(len(last))
    ]


def _findings(found: TauStatistics, rows: Sequence[Row]) -> tuple[str, ...]:
    named = [rows[int(i)] for i in np.unique(np.geomspace(1, len(rows), SHOWN).round()) - 1]
    means = ", ".join(
        f"{row['tau']:.3f} for expert {row['expert']} (expected {row['expected']:.3f})"
        for row in named
    )
    ratios = [row["ratio"] for row in rows]
    said = [
        f"After {found.steps[-1]:,} steps the mean tau is {means}.",
        f"{_order(rows)}, and lies between {min(ratios):.2f} and {max(ratios):.2f} of what is "
        "expected of Gaussian gradients that do not shrink.",
    ]
    if len(found.steps) > 1:
        change = np.abs(found.tau[-1].mean(axis=-1) / found.tau[-2].mean(axis=-1) - 1).max()
        said.append(
            f"From step {found.steps[-2]:,} to {found.steps[-1]:,} no expert's mean changed by "
            f"more than {change:.0%}."
        )
    return tuple(said)


def _order(rows: Sequence[Row]) -> str:
    """Say how well tau orders the experts by their activity."""
    active, tau = ([row[key] for row in rows] for key in ("active", "tau"))
    if min(len(set(active)), len(set(tau))) == 1:
        return "It has no order to find, as all experts are alike"
    correlation = float(spearmanr(active, tau).statistic)
    verb = "orders" if correlation >= ORDERED else "does not order"
    return f"It {verb} the experts by their activity (rank correlation {correlation:.3f})"


def _by_activity(found: TauStatistics) -> Plot:
    labels = ["expected", *(f"step {step:,}" for step in found.steps)]
    order = np.argsort(found.active)
    lines = curve(labels[0], found.active[order], expected_tau(found.active)[order])
    marks: list[Any] = [
        {BY: label, "x": float(q), "y": float(tau)}
        for label, taus in zip(labels[1:], found.tau.mean(axis=-1), strict=True)
        for q, tau in zip(found.active, taus, strict=True)
    ]
    chart = log_chart(
        lines, labels, "probability q that a step has a gradient", "mean tau of an expert",
        marks=marks,
    )  # fmt: skip
    caption = (
        "A point for each expert and checkpoint. The line is what tau settles at where gradients "
        "are Gaussian and keep their size; it is about q for rare experts."
    )
    return Plot("tau", "The estimate finds out who is active", caption, chart)


def _distribution(found: TauStatistics) -> Plot:
    levels, taus = found.distribution()
    labels = [f"step {step:,}" for step in found.steps]
    lines: list[Any] = []
    for label, values in zip(labels, taus, strict=True):
        lines += curve(label, values, levels / (1 - levels))
    chart = log_chart(
        lines, labels, "regularised tau of a weight", "odds that a weight has less, F / (1 - F)"
    )
    caption = (
        "The distribution function F of the estimate over all weights, as the optimizer uses it: "
        "tau/(1 - tau) up to 1, at least 1/(1 + t). Odds on a logarithmic axis are the logit axis "
        "of the paper's figure; 1 is the median. Lines that lie on each other have settled."
    )
    return Plot("tau-distribution", "Distribution of the estimate", caption, chart)


def _points(found: TauStatistics) -> list[Row]:
    return [
        {"step": int(step), "expert": i + 1, "active": float(found.active[i]), "tau": float(tau)}
        for step, taus in zip(found.steps, found.tau.mean(axis=-1), strict=True)
        for i, tau in enumerate(taus)
    ]
