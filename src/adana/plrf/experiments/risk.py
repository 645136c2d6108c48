"""Risk against steps: SGD and DANA, with the slopes of the theory (spec section 12, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from adana.checks import check_integer
from adana.plrf.blocks import integrate
from adana.plrf.curve import RiskCurve
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.charts import curve, guide, log_chart
from adana.plrf.experiments.defaults import ALPHA, BETA, DIMENSION
from adana.plrf.experiments.drawn import draw_problem
from adana.plrf.experiments.measure import decades, slope
from adana.plrf.experiments.methods import compared_methods
from adana.plrf.experiments.result import (
    Plot,
    Progress,
    Result,
    Row,
    memory_caution,
    points,
    silent,
    size_in_words,
    span_text,
    table,
    tracked,
)
from adana.plrf.experiments.simulated import check_simulation, simulation_part
from adana.plrf.experiments.terms import (
    distorted_decade,
    leading_decade,
    noise_level,
    slopes_in_words,
    too_short_memory,
)
from adana.plrf.momentum import GAIN, default_step, spectral_kappa
from adana.plrf.phases import Exponents, exponents, phase
from adana.plrf.problem import PLRF
from adana.plrf.spectrum import Spectrum
from adana.schedules import DELTA

FIRST_DECADE = 2
"""Slopes are measured from step 100 on."""
MEASURED = ("SGD", "DANA-decaying")
"""Methods with one clock, whose slopes are compared with the theory."""
APART = 2.0
"""Factor by which guides lie beside their curves."""


def risk_experiment(
    alpha: float = ALPHA,
    beta: float = BETA,
    *,
    dimension: int = DIMENSION,
    batch: int = 1,
    total_steps: int = 1_000_000_000,
    gain: float = GAIN,
    delta: float = DELTA,
    runs: int = 16,
    simulated_dimension: int = 800,
    simulated_steps: int = 3000,
    progress: Progress = silent,
) -> Result:
    """Integrate five methods over `total_steps` steps and measure their slopes decade by decade.

    With `runs`, SGD and DANA-decaying are also simulated that many times each on a drawn problem of
    `simulated_dimension` parameters, and compared with the exact recursion on that problem.

    Raises:
        ValueError: parameters outside their range.
    """
    check_integer("runs", runs, low=0)
    if runs:
        check_simulation(runs, simulated_steps)
        progress(0.0, f"drawing a problem of {simulated_dimension} parameters")
        drawn = draw_problem(PLRF(alpha, beta, simulated_dimension), "simulated_dimension")
    progress(0.0, "the deterministic spectrum")
    spectrum = deterministic_spectrum(alpha, beta, dimension)
    step = default_step(spectrum.trace, batch)
    end = 0.4 if runs else 1.0
    curves = [
        integrate(spectrum, method, batch=batch, total_steps=total_steps)
        for method in tracked(
            compared_methods(alpha, step, dimension, gain=gain, delta=delta),
            progress,
            lambda m: m.name,
            (0.05, end),
        )
    ]
    theories = [exponents(alpha, beta, found.name) for found in curves]
    spans = decades(FIRST_DECADE, total_steps)
    slopes = [
        _slopes(found, spans, theory, delta) for found, theory in zip(curves, theories, strict=True)
    ]
    compared = _Compared(spectrum, batch, delta)
    plots = [_plot(compared, curves, theories)]
    findings = _findings(compared, curves, theories)
    tables = [table("risk-slopes", "Slopes, decade by decade", _columns(spans), slopes)]
    data = [points("risk", "Risk of every method", _points(curves))]
    if runs:
        checked = simulation_part(
            drawn,
            lambda own: compared_methods(
                alpha, own, simulated_dimension, MEASURED, gain=gain, delta=delta
            ),
            batch=batch,
            total_steps=simulated_steps,
            runs=runs,
            name="risk-simulated",
            progress=progress,
            part=(end, 1.0),
        )
        plots.append(checked.plot)
        tables.append(checked.table)
        findings.append(checked.finding)
        data.append(checked.data)
    kappa = spectral_kappa(alpha)
    return Result(
        name="risk",
        title=f"SGD against DANA at alpha = {alpha:g}, beta = {beta:g}: phase {phase(alpha, beta)}",
        about=(
            "The expected risk of one pass over fresh data. It falls as a power of the number of "
            "steps, or as several one after another, until it meets the floor of the best "
            "parameters. DANA remembers gradients in log time and, above the line 2 alpha = 1, "
            f"falls along a steeper power. Its momentum step here is c gamma2 (1 + t)^-{kappa:.3g} "
            "(decaying) or c gamma2 / d (constant)."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": size_in_words(dimension),
            "batch": f"{batch}",
            "steps": f"{total_steps:,}",
            "gamma2": f"{step:.4g} = 0.5 min(1, batch / trace)",
            "gain c, delta": f"{gain:g}, {delta:g}",
        },
        findings=tuple(findings),
        plots=tuple(plots),
        tables=tuple(tables),
        data=tuple(data),
        sometimes=("risk-simulated", "risk-simulated-agreement"),
    )


class _Compared(NamedTuple):
    """What curves are compared with the theory by."""

    spectrum: Spectrum
    batch: int
    delta: float

    def decade(self, theory: Exponents, found: RiskCurve) -> tuple[float, float] | None:
        """Return the last decade in which the theory's first exponent is expected."""
        if too_short_memory(theory, self.delta) is not None:
            return None
        return leading_decade(self.spectrum, theory, found, FIRST_DECADE, batch=self.batch)


def _columns(spans: Sequence[tuple[float, float]]) -> dict[str, str]:
    return {
        "method": "what is integrated",
        "theory": "slopes of the theory, in the order in which they appear; then the floor is "
        "reached",
        "confirmed": "whether the theory's exponents were confirmed numerically and hold for this "
        "delta; no: see Findings",
        **{
            span_text(span): "slope of ln P against ln t, least squares over this decade of steps"
            for span in spans
        },
    }


def _slopes(
    found: RiskCurve, spans: Sequence[tuple[float, float]], theory: Exponents, delta: float
) -> dict[str, Any]:
    measured = {span_text(span): _measured(found, span) for span in spans}
    return {
        "method": found.name,
        "theory": slopes_in_words(theory),
        "confirmed": theory.confirmed and too_short_memory(theory, delta) is None,
        **measured,
    }


def _measured(found: RiskCurve, span: tuple[float, float]) -> float:
    return round(slope(found.steps, found.risk, *span), 3)


def _findings(
    compared: _Compared, curves: Sequence[RiskCurve], theories: Sequence[Exponents]
) -> list[str]:
    said = []
    for found, theory in zip(curves, theories, strict=True):
        if found.name in MEASURED and not found.diverged:
            said += _against_theory(compared, found, theory)
    return [*said, _against_sgd(compared.spectrum, curves[0], curves[-1])]


def _against_theory(compared: _Compared, found: RiskCurve, theory: Exponents) -> list[str]:
    """Say how fast a method falls where the theory's first exponent is expected."""
    needed = too_short_memory(theory, compared.delta)
    if needed is not None:
        return [memory_caution(found.name, compared.delta, needed, theory.time)]
    span = compared.decade(theory, found)
    if span is None:
        level = noise_level(compared.spectrum, theory, compared.batch)
        why = (
            f"; gradient noise (K_pp) takes over from F_pp at a risk of about {level:.2g}"
            if np.isfinite(level)
            else ""
        )
        return [
            f"{found.name}: no decade in which the first power law is known to stand alone{why}; "
            "the table has the slopes of all."
        ]
    said = (
        f"{found.name} falls like t^{_measured(found, span):.3f} over steps {span_text(span)}; "
        f"theory says t^{-theory.time:.3f}."
    )
    return [said, f"Not confirmed for {found.name}: {theory.note}."] if theory.note else [said]


def _against_sgd(spectrum: Spectrum, sgd_curve: RiskCurve, dana: RiskCurve) -> str:
    """Say how DANA-decaying compares with SGD at the end."""
    last = float(sgd_curve.risk[-1])
    reached = np.flatnonzero(dana.risk <= last)
    if dana.diverged:
        return f"DANA-decaying diverged after {dana.steps[-1]:,} steps."
    if reached.size:
        steps = int(dana.steps[reached[0]])
        return (
            f"DANA-decaying needs {steps:,} steps for the risk {last:.3g} that SGD has after "
            f"{sgd_curve.steps[-1]:,}: {sgd_curve.steps[-1] / steps:.3g} times fewer."
        )
    ratio = float(dana.risk[-1]) / last
    share = spectrum.floor / last
    return (
        f"DANA-decaying ends at {ratio:.4g} times the risk of SGD, of which the floor is "
        f"{share:.0%}."
    )


def _plot(compared: _Compared, curves: Sequence[RiskCurve], theories: Sequence[Exponents]) -> Plot:
    spectrum = compared.spectrum
    labels = [found.name for found in curves]
    lines: list[Any] = []
    guides: list[Any] = []
    for found, theory in zip(curves, theories, strict=True):
        lines += curve(found.name, found.steps, found.risk)
        if found.name in MEASURED:
            guides += _guides(compared, found, theory)
    ends = (1.0, float(curves[0].steps[-1]))
    guides += guide(labels[0], 0.0, (1.0, spectrum.floor), ends, "floor")
    bottom = 0.5 * min(spectrum.floor, *(row["y"] for row in lines))
    chart = log_chart(
        lines,
        labels,
        "step t",
        "risk P",
        guides=guides,
        y_domain=(bottom, 2 * spectrum.start),
    )
    caption = (
        "Expected risk at every step, computed without drawing a matrix. Dotted: power laws with "
        "the exponents of the theory, laid beside the curves where the theory expects them to "
        "hold; and the risk of the best parameters, the floor."
    )
    return Plot("risk", "Risk of SGD and DANA", caption, chart)


def _guides(compared: _Compared, found: RiskCurve, theory: Exponents) -> list[dict[str, Any]]:
    rows = []
    later = theory.terms[1].clock * theory.clocks[-1].time if len(theory.terms) > 1 else None
    for exponent, span in (
        (theory.time, compared.decade(theory, found)),
        (later, distorted_decade(compared.spectrum, theory, found, FIRST_DECADE)),
    ):
        if exponent is not None and span is not None:
            middle = float(np.sqrt(span[0] * span[1]))
            ends = (span[0] / 5, min(span[1] * 5, float(found.steps[-1])))
            below = found.name != "SGD"
            anchor = (middle, found.at(middle) * (1 / APART if below else APART))
            rows += guide(found.name, -exponent, anchor, ends, f"t^-{exponent:.3g}", below=below)
    return rows


def _points(curves: Sequence[RiskCurve]) -> list[Row]:
    return [
        {"method": found.name, "step": int(step), "risk": float(risk), "buffer": float(buffer)}
        for found in curves
        for step, risk, buffer in zip(found.steps, found.risk, found.buffer, strict=True)
    ]
