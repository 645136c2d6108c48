"""Charts over the plane of alpha and beta: the phases, and what momentum adds to the exponents."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from adana.plrf.experiments.result import Plot
from adana.plrf.phases import exponents, phase
from adana.report import drawing
from adana.report.drawing import inline, rounded

NAMES = ("Ia", "Ib", "Ic", "II", "III", "IVa", "IVb")
COMPARED = ("SGD", "DANA-constant", "DANA-decaying")
ALPHAS, BETAS = (0.05, 1.6), (-0.6, 1.6)
"""What the charts show."""
CELLS = 28
"""Cells of the second chart along each axis."""


def phase_map(alpha: float, beta: float) -> Plot:
    """Return the phases with their terms, and a point."""
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
    drawn = ALPHAS[0] <= alpha <= ALPHAS[1] and BETAS[0] <= beta <= BETAS[1]
    mark = alt.Chart(inline(asked)).mark_point(filled=True, size=90, color="black")
    layers = [
        areas,
        texts.encode(across, up, text="text:N"),
        turned.encode(across, up, text="text:N"),
        *([mark.encode(across, up, tooltip=drawing.tooltips(asked[0]))] if drawn else []),
    ]
    point = "The black point is" if drawn else "The map does not reach"
    caption = (
        "Each phase with the terms of its risk, in the order in which they lead. "
        f"{point} the (alpha, beta) asked for. White, below the diagonal: the target has no finite "
        "norm."
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


def advantage_map() -> Plot:
    """Return how many times larger the exponent in compute is with DANA-decaying than with SGD."""
    rows = exponent_grid()
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
    chart = drawing.layered("phase", [layer], width=560, height=460)
    return Plot("phases-advantage", "What momentum adds to the exponent in compute", caption, chart)


def exponent_grid() -> list[dict[str, Any]]:
    """Return the exponents in compute at the middle of every cell, where the model exists."""
    rows = []
    for alpha in np.linspace(*ALPHAS, 2 * CELLS + 1)[1::2]:
        for beta in np.linspace(*BETAS, 2 * CELLS + 1)[1::2]:
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
