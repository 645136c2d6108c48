"""The time at which SGD is as good as DANA, and the clock behind it (spec section 12, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from adana.checks import check_integer, check_range
from adana.plrf.blocks import MOST_STEPS, integrate
from adana.plrf.clocks import clock, clock_rate, needed_delta, sgd_equivalent
from adana.plrf.curve import RiskCurve
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.charts import curve, guide, log_chart
from adana.plrf.experiments.defaults import BETA
from adana.plrf.experiments.measure import decades, slope
from adana.plrf.experiments.result import (
    Plot,
    Progress,
    Result,
    Row,
    floor_caution,
    points,
    silent,
    size_in_words,
    span_text,
    table,
    tracked,
)
from adana.plrf.experiments.terms import too_short_memory
from adana.plrf.momentum import (
    Momentum,
    dana_constant,
    dana_decaying,
    default_step,
    sgd,
    spectral_kappa,
)
from adana.plrf.phases import exponents, spectrum_exponent
from adana.plrf.spectrum import Spectrum
from adana.plrf.stability import noise_gain
from adana.schedules import DELTA

FIRST_DECADE = 2
SGD_STEPS = 10**13
"""How far SGD is followed; its blocks grow with time, so this costs no more than a second."""

FURTHER = 100
"""How many times as many steps DANA-constant takes for about the clock of DANA-decaying, and SGD
for that of DANA-constant."""


class Case(NamedTuple):
    """One alpha: DANA-decaying, SGD, and SGD's time for the risks of DANA."""

    alpha: float
    spectrum: Spectrum
    step: float
    sgd: RiskCurve
    dana: RiskCurve
    equivalent: np.ndarray


def clock_experiment(
    alphas: Sequence[float] = (1.0, 0.8, 1.3),
    beta: float = BETA,
    *,
    dimension: int = 10_000_000,
    total_steps: int = 10_000_000,
    gain: float = 1.0,
    delta: float = DELTA,
    progress: Progress = silent,
) -> Result:
    """Find, for each step of DANA-decaying, the step at which SGD has the same risk.

    Its slope on logarithmic axes is `2 - 1/(2 alpha)` in theory. The second chart shows the risks
    of SGD and both DANAs at the first alpha against the clock theta(t), where they fall together.

    Raises:
        ValueError: parameters outside their range; alphas of 1/2 or less, where momentum cannot
            help and there is no other clock.
    """
    if not alphas:
        raise ValueError("alphas must name at least one value, say 1.0")
    for alpha in alphas:
        check_range("alphas", alpha, low=0.5, low_open=True)
    check_range("gain", gain, low=0.0, low_open=True)
    check_integer(
        "total_steps", total_steps, low=10 ** (FIRST_DECADE + 1), high=MOST_STEPS // FURTHER**2
    )
    cases = [
        _case(alpha, beta, dimension, total_steps, gain=gain, delta=delta)
        for alpha in tracked(list(alphas), progress, lambda a: f"alpha = {a:g}", (0.0, 0.9))
    ]
    spans = decades(FIRST_DECADE, total_steps)
    rows = [_row(case, beta, spans, gain, delta) for case in cases]
    progress(0.9, "the clock")
    return Result(
        name="clock",
        title="The clock of log-time momentum",
        about=(
            "How many steps SGD needs for the risk that DANA has after t steps. SGD learns in "
            "steps; log-time momentum moves like a heavy ball that is pushed by its step, and its "
            "clock is the square of the integral of the root of gamma1 gamma3: faster than t, by a "
            "power. Every algorithm then follows the same curve of risk, in its own time."
        ),
        settings={
            "alphas, beta": f"{', '.join(f'{a:g}' for a in alphas)}; {beta:g}",
            "d": size_in_words(dimension),
            "steps of DANA": f"{total_steps:,}",
            "gain c, delta": f"{gain:g}, {delta:g}",
            "gamma2": "0.5 / trace: " + ", ".join(f"{case.step:.4g}" for case in cases),
        },
        findings=_findings(rows, cases, beta, delta),
        plots=(
            _plot(cases, rows, total_steps),
            _collapse(cases[0], dimension, total_steps, gain, delta),
        ),
        tables=(table("clock-slopes", "Slopes of SGD's time, by decade", _columns(spans), rows),),
        data=(points("clock", "SGD-equivalent time", _points(cases)),),
    )


def _case(
    alpha: float, beta: float, dimension: int, total_steps: int, *, gain: float, delta: float
) -> Case:
    spectrum = deterministic_spectrum(alpha, beta, dimension)
    step = default_step(spectrum.trace)
    plain = integrate(spectrum, sgd(step), batch=1, total_steps=SGD_STEPS)
    method = _decaying(alpha, step, gain, delta)
    dana = integrate(spectrum, method, batch=1, total_steps=total_steps)
    return Case(alpha, spectrum, step, plain, dana, sgd_equivalent(dana, plain))


def _decaying(alpha: float, step: float, gain: float, delta: float) -> Momentum:
    return dana_decaying(step, spectral_kappa(alpha), gain=gain, delta=delta)


def _columns(spans: Sequence[tuple[float, float]]) -> dict[str, str]:
    return {
        "alpha": "how fast the features fall off",
        "theory": "slope of theory, 2 - 1/(2 alpha)",
        **{
            span_text(span): "slope of ln(SGD's step) against ln t in this decade" for span in spans
        },
        "ratio": "SGD's steps for the last risk of DANA, over DANA's steps",
        "of theory": "SGD's time at the end over that of theory with its constants, from the clock "
        "of the momentum alone and the noise gains; - in phase III, where delta is too small, or "
        "where momentum's clock is not yet ahead of that of its own SGD steps",
    }


def _row(
    case: Case, beta: float, spans: Sequence[tuple[float, float]], gain: float, delta: float
) -> dict[str, Any]:
    last = float(case.equivalent[-1])
    measured = {
        span_text(span): round(slope(case.dana.steps, case.equivalent, *span), 3) for span in spans
    }
    predicted = _predicted(case, beta, gain, delta)
    return {
        "alpha": case.alpha,
        "theory": 2 - spectral_kappa(case.alpha),
        **measured,
        "ratio": None if case.dana.diverged else last / float(case.dana.steps[-1]),
        "of theory": None if predicted is None or case.dana.diverged else last / predicted,
    }


def _predicted(case: Case, beta: float, gain: float, delta: float) -> float | None:
    """Return SGD's step for DANA's last risk by the constants of the theory (spec 7.2)."""
    kappa, p = spectral_kappa(case.alpha), spectrum_exponent(case.alpha, beta)
    if beta > case.alpha or delta <= needed_delta(p, kappa):
        return None
    end = float(case.dana.steps[-1])
    method = _decaying(case.alpha, case.step, gain, delta)
    plain = 2 * case.step * end
    momentum = clock_rate(p, delta, kappa) * (float(clock(method, [end])[0]) - plain)
    if momentum < plain:
        return None
    noise = [
        float(noise_gain(case.spectrum, each, batch=1, steps=end))
        for each in (method, sgd(case.step))
    ]
    quieter = ((1 - noise[0]) / (1 - noise[1])) ** (1 / p)
    return momentum / (2 * case.step) * quieter


def _findings(
    rows: Sequence[Row], cases: Sequence[Case], beta: float, delta: float
) -> tuple[str, ...]:
    said = []
    for row, case in zip(rows, cases, strict=True):
        if case.dana.diverged:
            said.append(
                f"alpha = {row['alpha']:g}: DANA diverged after {case.dana.steps[-1]:,} steps; "
                "try a smaller gain."
            )
            continue
        spans = [key for key in row if "-" in key]
        needed = too_short_memory(exponents(case.alpha, beta, case.dana.name), delta)
        theory = (
            f"theory says t^{row['theory']:.3f}"
            if needed is None
            else f"delta = {delta:g} is not above {needed:.2f}: the memory is too short for the "
            f"t^{row['theory']:.3f} of theory"
        )
        said.append(
            f"alpha = {row['alpha']:g}: SGD's time grows like t^{row[spans[-1]]:.3f} over steps "
            f"{spans[-1]} of DANA; {theory}. After {case.dana.steps[-1]:,} steps of DANA, SGD "
            f"needs {row['ratio']:.3g} times as many."
        )
        share = case.spectrum.floor / float(case.dana.risk[-1])
        said += floor_caution(share, int(case.dana.steps[-1]))
    return tuple(said)


def _plot(cases: Sequence[Case], rows: Sequence[Row], total_steps: int) -> Plot:
    labels = ["SGD itself", *(f"alpha = {case.alpha:g}" for case in cases)]
    lines = curve(labels[0], [1.0, float(total_steps)], [1.0, float(total_steps)])
    guides: list[Any] = []
    for label, case, row in zip(labels[1:], cases, rows, strict=True):
        lines += curve(label, case.dana.steps, case.equivalent)
        end, last = float(case.dana.steps[-1]), float(case.equivalent[-1])
        if np.isfinite(last):
            guides += guide(
                label, row["theory"], (end, last), (end / 1e3, end), f"t^{row['theory']:.4g}"
            )
    chart = log_chart(
        lines,
        labels,
        "step t of DANA-decaying",
        "step of SGD with the same risk",
        guides=guides,
        y_domain=(1.0, 2 * max(row["y"] for row in lines)),
    )
    caption = (
        "For every step of DANA, the step at which SGD has the same expected risk. Dotted: the "
        "slope of theory, 2 - 1/(2 alpha), laid through the last point. Below the grey line SGD is "
        "ahead."
    )
    return Plot("clock", "The time of SGD that DANA is worth", caption, chart)


def _collapse(case: Case, dimension: int, total_steps: int, gain: float, delta: float) -> Plot:
    spectrum, step = case.spectrum, case.step
    constant = dana_constant(step, dimension, gain=gain, delta=delta)
    long = FURTHER * total_steps  # both end at about the same clock
    methods = [sgd(step), constant, _decaying(case.alpha, step, gain, delta)]
    lines: list[Any] = []
    for method, steps in zip(methods, (FURTHER * long, long, total_steps), strict=True):
        found = integrate(spectrum, method, batch=1, total_steps=steps)
        theta = clock(method, found.steps)
        lines += curve(method.name, theta, found.risk)
    labels = [method.name for method in methods]
    chart = log_chart(lines, labels, "clock theta(t)", "risk P")
    caption = (
        f"alpha = {case.alpha:g}: the same risks against the clock theta(t) = 2 gamma2 t + "
        "(integral of the root of gamma1 gamma3)^2 instead of steps. SGD and DANA-decaying run "
        "side by side: between them is a constant, and the time momentum takes to build up. "
        "DANA-constant goes from the one to the other while momentum takes over its clock."
    )
    return Plot("clock-collapse", "All algorithms on one clock", caption, chart)


def _points(cases: Sequence[Case]) -> list[Row]:
    return [
        {"alpha": case.alpha, "step": int(t), "SGD step": float(s), "risk": float(risk)}
        for case in cases
        for t, s, risk in zip(case.dana.steps, case.equivalent, case.dana.risk, strict=True)
    ]
