"""How much damping matters to each optimizer (spec/plrf.md section 12, figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adana.checks import check_integer
from adana.plrf.curve import log_steps
from adana.plrf.experiments.charts import curve, guide, log_chart
from adana.plrf.experiments.defaults import (
    ALPHA,
    EXPERT_BATCH,
    EXPERT_BETA,
    EXPERT_DIMENSION,
    EXPERTS,
    EXPONENT,
)
from adana.plrf.experiments.result import Plot, Progress, Result, Row, points, silent, table
from adana.plrf.hummingbird import BASELINE, OPTIMIZERS, Hummingbird, hummingbird
from adana.plrf.mixture import expert_probabilities
from adana.plrf.problem import PLRF

KAPPAS = (0.0, 0.25, 0.5, 0.75, 1.0)
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
PER_DECADE = 10
TOP = 3.0
"""Risks above this multiple of the start are not drawn."""


def hummingbird_experiment(
    alpha: float = ALPHA,
    beta: float = EXPERT_BETA,
    *,
    dimension: int = EXPERT_DIMENSION,
    experts: int = EXPERTS,
    exponent: float = EXPONENT,
    batch: int = EXPERT_BATCH,
    total_steps: int = 3000,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
    kappas: Sequence[float] = KAPPAS,
    rates: Sequence[float] = RATES,
    runs: int = 1,
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """Train a mixture of experts with every optimizer and kappa, each at its best learning rate.

    Adam is the baseline. With `experts = 1` the problem is plain power-law random features.

    Raises:
        ValueError: parameters outside their range, or an unknown optimizer.
    """
    check_integer("total_steps", total_steps, low=10)
    if not optimizers or not kappas or not rates:
        raise ValueError("optimizers, kappas and rates must each name at least one value")
    progress(0.0, "drawing the problem")
    drawn = PLRF(alpha, beta, dimension, seed=seed).draw()
    count = (len(optimizers) * len(kappas) + 1) * len(rates)
    found = hummingbird(
        drawn,
        expert_probabilities(experts, exponent),
        optimizers=optimizers,
        kappas=kappas,
        rates=rates,
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        seed=seed,
        steps=log_steps(total_steps, PER_DECADE),
        progress=lambda done: progress(done / total_steps, f"{count} trainings, step {done:,}"),
    )
    rows = _rows(found, rates)
    start = float(found.baseline[0])
    floor = drawn.twice_floor / 2
    return Result(
        name="hummingbird",
        title=f"How much damping matters, with {experts} expert{'s' if experts > 1 else ''}",
        about=(
            "A mixture of experts in which most samples go to a few: rare experts have a gradient "
            "only now and then, as rare words have. kappa damps the momentum; small values let it "
            "grow strong. An optimizer whose curves for all kappas lie together is robust; one "
            "whose curves spread out like a hummingbird's wings needs its kappa tuned."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": f"{dimension} parameters for each of {experts} experts, drawn",
            "experts": f"expert i with a probability like i^-{exponent:g}",
            "batch": f"{batch}",
            "learning rates": ", ".join(f"{rate:g}" for rate in rates)
            + ", constant; each curve shows the one with the lowest final risk",
            "runs, seed": f"{runs}, {seed}",
            "ADana, Dana-Star": "as released: the momentum multiplier is 1 + (1 + t)^(1 - kappa), "
            "in Dana-Star of the effective time",
        },
        findings=_findings(found, rows, floor),
        plots=(
            _final_plot(found, floor),
            *(_curves_plot(found, i, start) for i in range(len(found.optimizers))),
        ),
        tables=(
            table(
                "hummingbird-final",
                "Final risk of every optimizer and kappa",
                {
                    "optimizer": "of adana.optim; Adam is torch's",
                    "kappa": "damping exponent",
                    "final risk": "risk of the mixture after the last step, at the best rate",
                    "over Adam": "that divided by Adam's",
                    "lr": "the best of the learning rates tried",
                    "edge": "whether that is the first or the last of them",
                },
                rows,
            ),
        ),
        data=(points("hummingbird", "Risk of the mixture", _points(found)),),
        sometimes=tuple(map(_file_name, OPTIMIZERS)),
    )


def _file_name(optimizer: str) -> str:
    return f"hummingbird-{optimizer.lower()}"


def _rows(found: Hummingbird, rates: Sequence[float]) -> list[Row]:
    edges = (min(rates), max(rates))
    adam = float(found.baseline[-1])
    first = {
        "optimizer": BASELINE,
        "kappa": None,
        "final risk": adam,
        "over Adam": 1.0,
        "lr": found.baseline_rate,
        "edge": found.baseline_rate in edges,
    }
    others = [
        {
            "optimizer": name,
            "kappa": float(kappa),
            "final risk": float(found.risk[i, j, -1]),
            "over Adam": float(found.risk[i, j, -1]) / adam,
            "lr": float(found.rates[i, j]),
            "edge": float(found.rates[i, j]) in edges,
        }
        for i, name in enumerate(found.optimizers)
        for j, kappa in enumerate(found.kappas)
    ]
    return [first, *others]


def _findings(found: Hummingbird, rows: Sequence[Row], floor: float) -> tuple[str, ...]:
    final = found.risk[..., -1]
    said = [
        f"Adam's final risk is {found.baseline[-1]:.3g} (that of the best parameters {floor:.3g})."
    ]
    for i, name in enumerate(found.optimizers):
        whole = np.isfinite(final[i])
        if not whole.any():
            said.append(f"{name}: no kappa was finite at any rate.")
            continue
        best = int(np.nanargmin(final[i]))
        worst = int(np.nanargmax(final[i]))
        spread = final[i, worst] / final[i, best]
        said.append(
            f"{name}: best kappa {found.kappas[best]:g} with {final[i, best]:.3g}; the worst, "
            f"{found.kappas[worst]:g}, ends {spread:.3g} times higher."
            + ("" if whole.all() else " Some kappas were not finite.")
        )
    said.append("One small problem and few seeds: good for the order of curves only.")
    return tuple(said)


def _final_plot(found: Hummingbird, floor: float) -> Plot:
    labels = [BASELINE, *found.optimizers]
    lines: list[Any] = []
    for i, name in enumerate(found.optimizers):
        lines += curve(name, np.maximum(found.kappas, 1e-12), found.risk[i, :, -1])
    ends = (float(found.kappas.min()), float(found.kappas.max()))
    guides = [
        *guide(BASELINE, 0.0, (1.0, float(found.baseline[-1])), _positive(ends), "Adam"),
        *guide(BASELINE, 0.0, (1.0, floor), _positive(ends), "the best parameters"),
    ]
    chart = log_chart(
        lines, labels, "damping kappa", "final risk P of the mixture", guides=guides, marks=lines,
        x_log=False,
    )  # fmt: skip
    caption = (
        "Final risk of each optimizer against kappa, each point at its best learning rate. Dotted: "
        "Adam at its best rate, and what no parameters can go below."
    )
    return Plot("hummingbird", "Final risk against damping", caption, chart)


def _positive(ends: tuple[float, float]) -> tuple[float, float]:
    return max(ends[0], 1e-2), ends[1]


def _curves_plot(found: Hummingbird, index: int, start: float) -> Plot:
    name = found.optimizers[index]
    labels = [BASELINE, *(f"kappa = {kappa:g}" for kappa in found.kappas)]
    lines = curve(BASELINE, found.steps, found.baseline)
    for label, risk in zip(labels[1:], found.risk[index], strict=True):
        lines += curve(label, found.steps, np.where(risk < TOP * start, risk, np.nan))
    chart = log_chart(lines, labels, "step t", "risk P of the mixture")
    caption = f"{name} with every kappa, each at its best learning rate, and Adam at its own."
    return Plot(_file_name(name), f"{name}, by damping", caption, chart)


def _points(found: Hummingbird) -> list[Row]:
    adam = [
        {"optimizer": BASELINE, "kappa": None, "step": int(step), "risk": float(risk)}
        for step, risk in zip(found.steps, found.baseline, strict=True)
    ]
    others = [
        {"optimizer": name, "kappa": float(kappa), "step": int(step), "risk": float(risk)}
        for i, name in enumerate(found.optimizers)
        for j, kappa in enumerate(found.kappas)
        for step, risk in zip(found.steps, found.risk[i, j], strict=True)
    ]
    return [*adam, *others]
