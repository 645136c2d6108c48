"""The phase diagram with its exponents (spec/plrf.md section 7)."""

from __future__ import annotations

from adana.plrf.blocks import integrate
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.defaults import ALPHA, BETA
from adana.plrf.experiments.measure import slope
from adana.plrf.experiments.phase_map import (
    COMPARED,
    advantage_map,
    exponent_grid,
    phase_map,
)
from adana.plrf.experiments.result import (
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
from adana.plrf.phases import Exponents, exponents

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

GAIN = 1.0
"""The gain c at which DANA's slopes are measured: they settle sooner than with 0.5."""
FIRST_DECADE = 3


def phases_experiment(
    alpha: float = ALPHA,
    beta: float = BETA,
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
        plots=(phase_map(alpha, beta), advantage_map()),
        tables=(table("phases-exponents", "Exponents at a point of each phase", COLUMNS, rows),),
        data=(points("phases", "Exponents over the plane", exponent_grid()),),
    )


COLUMNS = {
    "phase": "region of the diagram",
    "alpha": "how fast the features fall off",
    "beta": "how fast the target falls off",
    "method": "algorithm",
    "terms": "the terms of the risk in the order in which they lead",
    "time": "theory: P ~ t^-time while the first term leads and the last clock runs",
    "measured": "minus the slope over the last decade in which the later terms are small and, in "
    "phase III, noise has taken over from F_pp; - where there is none, or where the method's last "
    "clock starts too late",
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
    said.append(_furthest(checked))
    said += [
        f"Not confirmed for {theory.algorithm} at ({theory.alpha:g}, {theory.beta:g}): "
        f"{theory.note}."
        for theory in own
        if theory.note
    ]
    return tuple(said)


def _furthest(checked: list[Row]) -> str:
    """Say how far measured slopes are from theory."""
    if not checked:
        return (
            "No slope was measured: there is no decade in which the first power law stands alone; "
            "take a larger d or more steps."
        )

    def gap(row: Row) -> float:
        return abs(float(row["measured"]) / float(row["time"]) - 1)

    worst = max(checked, key=gap)
    return (
        f"{len(checked)} slopes in time were measured; they lie within {gap(worst):.1%} of theory, "
        f"the furthest {worst['method']} in phase {worst['phase']} at alpha = {worst['alpha']:g}: "
        f"{worst['measured']:.3f} against {worst['time']:.3f}."
    )
