"""The phase diagram with its exponents (spec/plrf.md section 7)."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from adana.plrf.blocks import integrate
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.measure import slope
from adana.plrf.experiments.result import (
    Plot,
    Progress,
    Result,
    Row,
    points,
    silent,
    table,
    tracked,
)
from adana.plrf.experiments.terms import leading_decade
from adana.plrf.momentum import dana_decaying, default_step, sgd, spectral_kappa
from adana.plrf.phases import Exponents, exponents, phase
from adana.report import drawing
from adana.report.drawing import Chart, inline, rounded

NAMES = ("Ia", "Ib", "Ic", "II", "III", "IVa", "IVb")
EXAMPLES = {
    "Ia": (1.0, 0.3),
    "Ib": (0.4, 0.2),
    "Ic": (0.2, 0.8),
    "II": (1.0, 0.7),
    "III": (1.0, 1.3),
    "IVa": (0.4, 0.8),
    "IVb": (0.27, 0.8),
}
"""A point of each phase, those of the spec's checks."""

ALPHAS, BETAS = (0.05, 1.6), (-0.6, 1.6)
"""What the diagram shows."""
GAIN = 1.0
"""The gain c at which DANA's slopes are measured: they settle sooner than with 0.5."""
FIRST_DECADE = 3
CELLS = 28
"""Cells of the second chart along each axis."""
COMPARED = ("SGD", "DANA-constant", "DANA-decaying")


def phases_experiment(
    alpha: float = 1.0,
    beta: float = 0.3,
    *,
    dimension: int = 10_000_000,
    total_steps: int = 1_000_000_000,
    progress: Progress = silent,
) -> Result:
    """Draw the phases over (alpha, beta), and measure slopes at one point of each.

    Slopes in time are measured where a decade exists in which the first power law stands alone
    (phases Ia, II, III). `alpha`, `beta` is a point whose exponents are given in full.

    Raises:
        ValueError: `alpha`, `beta` outside the model's range.
    """
    own = [exponents(alpha, beta, name) for name in COMPARED]
    places = {**EXAMPLES, "asked": (alpha, beta)}
    rows: list[Row] = []
    for name in tracked(list(places), progress, lambda name: f"slopes in phase {name}"):
        rows += _point(*places[name], dimension, total_steps)
    rows = list({(row["alpha"], row["beta"], row["method"]): row for row in rows}.values())
    return Result(
        name="phases",
        title="Phases of power-law random features",
        about=(
            "alpha says how fast the features fall off, beta how fast the target does. They decide "
            "which terms the risk is made of, and with that every exponent: F_pp, directions "
            "learned one after another; F_ac, the target distorted by the random embedding; K_pp, "
            "noise of the gradients; F_0, the floor. Log-time momentum helps on the right of the "
            "line 2 alpha = 1, where the features have a finite total variance."
        ),
        settings={
            "slopes measured with": f"d = {dimension:,}, {total_steps:,} steps, batch 1, gain c = "
            f"{GAIN:g}, gamma2 = 0.5 / trace",
            "exponents in compute": "of theory; adana plrf frontier measures them",
        },
        findings=_findings(own, rows),
        plots=(_map(alpha, beta), _advantage()),
        tables=(table("phases-exponents", "Exponents at a point of each phase", COLUMNS, rows),),
        data=(points("phases", "Exponents over the plane", _grid(CELLS)),),
    )


COLUMNS = {
    "phase": "region of the diagram",
    "alpha": "how fast the features fall off",
    "beta": "how fast the target falls off",
    "method": "algorithm",
    "terms": "the terms of the risk in the order in which they lead",
    "time": "theory: P ~ t^-time while the first term leads and the last clock runs",
    "measured": "minus the slope over the last decade in which the later terms are small; - where "
    "there is none, or where the method's last clock starts too late",
    "compute": "theory: P ~ (d t)^-compute with the best d for each compute",
    "size": "theory: that d grows like (d t)^size",
    "confirmed": "whether the exponents are known or were confirmed numerically",
}


def _point(alpha: float, beta: float, dimension: int, total_steps: int) -> list[Row]:
    found = {name: exponents(alpha, beta, name) for name in COMPARED}
    measured = _measure(found, dimension, total_steps) if alpha > 0.5 else {}
    return [
        {
            "phase": theory.phase,
            "alpha": alpha,
            "beta": beta,
            "method": name,
            "terms": ", ".join([*(term.name for term in theory.terms), "F_0"]),
            "time": theory.time,
            "measured": measured.get(name),
            "compute": theory.compute,
            "size": theory.size,
            "confirmed": theory.confirmed,
        }
        for name, theory in found.items()
    ]


def _measure(
    found: dict[str, Exponents], dimension: int, total_steps: int
) -> dict[str, float | None]:
    """Return minus the slopes of SGD and DANA-decaying, which both have one clock."""
    theory = found["SGD"]
    spectrum = deterministic_spectrum(theory.alpha, theory.beta, dimension)
    step = default_step(spectrum.trace)
    measured: dict[str, float | None] = {}
    for method in (sgd(step), dana_decaying(step, spectral_kappa(theory.alpha), gain=GAIN)):
        curve = integrate(spectrum, method, batch=1, total_steps=total_steps)
        span = leading_decade(spectrum, found[method.name], curve, FIRST_DECADE)
        measured[method.name] = (
            None if span is None else round(-slope(curve.steps, curve.risk, *span), 3)
        )
    return measured


def _findings(own: list[Exponents], rows: list[Row]) -> tuple[str, ...]:
    sgd_own, _, dana = own
    said = [
        f"(alpha, beta) = ({sgd_own.alpha:g}, {sgd_own.beta:g}) is in phase {sgd_own.phase}: P "
        f"falls like t^-{sgd_own.time:.3g} with SGD and t^-{dana.time:.3g} with DANA-decaying, and "
        f"with the best size for each compute like compute^-{sgd_own.compute:.3g} and "
        f"compute^-{dana.compute:.3g}."
    ]
    checked = [row for row in rows if row["measured"] is not None]
    worst = max(checked, key=lambda row: abs(row["measured"] / row["time"] - 1))
    said.append(
        f"{len(checked)} slopes in time were measured; they lie within "
        f"{max(abs(row['measured'] / row['time'] - 1) for row in checked):.1%} of theory, the "
        f"furthest {worst['method']} in phase {worst['phase']} at alpha = {worst['alpha']:g}: "
        f"{worst['measured']:.3f} against {worst['time']:.3f}."
    )
    said += [
        f"Not confirmed for {theory.algorithm} at ({theory.alpha:g}, {theory.beta:g}): "
        f"{theory.note}."
        for theory in own
        if theory.note
    ]
    return tuple(said)


def _map(alpha: float, beta: float) -> Plot:
    across = _axis(alt.X, "alpha", "alpha: how fast the features fall off", ALPHAS)
    up = _axis(alt.Y, "beta", "beta: how fast the target falls off", BETAS)
    color = alt.Color(
        "phase:N",
        scale=alt.Scale(domain=list(NAMES), range=list(drawing.PALETTE[: len(NAMES)])),
        legend=None,
    )
    areas = alt.Chart(inline(_bands())).mark_area(opacity=0.55, clip=True)
    areas = areas.encode(across, up, alt.Y2("top:Q"), color=color, detail="phase:N")
    flat = {"Ia": (1.05, 0.0), "Ib": (0.36, 0.36), "II": (1.2, 0.75), "III": (0.85, 1.3)}
    narrow = {"Ic": (0.15, 1.0), "IVb": (0.27, 1.0), "IVa": (0.4, 1.0)}
    names, upright = (
        [
            {"phase": name, "alpha": x, "beta": y, "text": f"{name}: {_terms(x, y)}"}
            for name, (x, y) in places.items()
        ]
        for places in (flat, narrow)
    )
    texts = alt.Chart(inline(names)).mark_text(fontSize=13, align="center")
    turned = alt.Chart(inline(upright)).mark_text(fontSize=12, angle=270)
    here = {"phase": phase(alpha, beta), "alpha": alpha, "beta": beta}
    asked = [{**here, **_point_text(alpha, beta)}]
    mark = alt.Chart(inline(asked)).mark_point(filled=True, size=90, color="black")
    layers = [
        areas,
        texts.encode(across, up, text="text:N"),
        turned.encode(across, up, text="text:N"),
        mark.encode(across, up, tooltip=drawing.tooltips(asked[0])),
    ]
    caption = (
        "Each phase with the terms of its risk, in the order in which they lead. The black point "
        "is the (alpha, beta) asked for. White, below the diagonal: the target has no finite norm."
    )
    chart = drawing.layered("phase", layers, width=560, height=460)
    return Plot("phases", "Phases over (alpha, beta)", caption, chart)


def _point_text(alpha: float, beta: float) -> dict[str, str]:
    return {
        f"{name} in compute": f"{exponents(alpha, beta, name).compute:.3g}" for name in COMPARED
    }


def _terms(alpha: float, beta: float) -> str:
    return " + ".join([*(term.name for term in exponents(alpha, beta, "SGD").terms), "F_0"])


def _bands() -> list[dict[str, Any]]:
    """Return, for each alpha, the betas where each phase begins and ends."""
    alphas = np.union1d(np.linspace(*ALPHAS, 156), [0.25, 0.5, 1 - np.sqrt(0.5)])
    alphas = np.union1d(alphas, alphas + 1e-6)
    betas = np.linspace(*BETAS, 441)
    rows = []
    for alpha in alphas:
        allowed = betas[betas > 0.5 - alpha + 1e-9]
        found = np.array([phase(float(alpha), float(beta)) for beta in allowed])
        for name in np.unique(found):
            own = allowed[found == name]
            ends = {"beta": rounded(float(own[0])), "top": rounded(float(own[-1] + 0.005))}
            rows.append({"phase": str(name), "alpha": rounded(float(alpha)), **ends})
    return rows


def _advantage() -> Plot:
    rows = _grid(CELLS)
    half = [(ends[1] - ends[0]) / (2 * CELLS) for ends in (ALPHAS, BETAS)]
    cells = [
        {
            **row,
            "left": rounded(row["alpha"] - half[0]),
            "right": rounded(row["alpha"] + half[0]),
            "bottom": rounded(row["beta"] - half[1]),
            "top": rounded(row["beta"] + half[1]),
        }
        for row in rows
    ]
    title = "exponent of DANA-decaying / exponent of SGD"
    color = alt.Color(
        "gain:Q",
        scale=alt.Scale(scheme="viridis"),
        legend=alt.Legend(title=title, orient="top", format=".2f", titleLimit=420),
    )
    layer = alt.Chart(inline(cells)).mark_rect(clip=True)
    layer = layer.encode(
        _axis(alt.X, "left", "alpha: how fast the features fall off", ALPHAS),
        _axis(alt.Y, "bottom", "beta: how fast the target falls off", BETAS),
        alt.X2("right:Q"),
        alt.Y2("top:Q"),
        color=color,
        tooltip=drawing.tooltips(rows[0]),
    )
    best = max(rows, key=lambda row: row["gain"])
    caption = (
        "How many times larger the exponent in compute is with DANA-decaying than with SGD, each "
        f"at the best size: 1 left of alpha = 1/2, at most {best['gain']:.2f} here. Values for "
        "which confirmed says no (point at a cell) are theory alone."
    )
    chart: Chart = drawing.layered("phase", [layer], width=560, height=460)
    return Plot("phases-advantage", "What momentum adds to the exponent in compute", caption, chart)


def _grid(count: int) -> list[dict[str, Any]]:
    rows = []
    for alpha in np.linspace(*ALPHAS, 2 * count + 1)[1::2]:
        for beta in np.linspace(*BETAS, 2 * count + 1)[1::2]:
            if alpha + beta > 0.5 + 1e-9:
                plain = exponents(float(alpha), float(beta), "SGD")
                dana = exponents(float(alpha), float(beta), "DANA-decaying")
                rows.append(
                    {
                        "phase": plain.phase,
                        "alpha": rounded(float(alpha)),
                        "beta": rounded(float(beta)),
                        "SGD": rounded(plain.compute),
                        "DANA-decaying": rounded(dana.compute),
                        "gain": rounded(dana.compute / plain.compute),
                        "confirmed": "yes" if dana.confirmed else "no",
                    }
                )
    return rows


def _axis(scheme: Any, field: str, title: str, ends: tuple[float, float]) -> Any:
    return drawing.axis(field, title, "~g", scheme, log=False, domain=ends)
