"""How strong the momentum should be at each horizon (spec/plrf.md section 12, figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adana.checks import check_integer
from adana.plrf.blocks import integrate
from adana.plrf.equivalent import deterministic_spectrum
from adana.plrf.experiments.charts import BY, curve, guide, log_chart
from adana.plrf.experiments.defaults import ALPHA, BETA, DIMENSION
from adana.plrf.experiments.measure import lowest, power_law
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
from adana.plrf.momentum import default_step, linear_average, spectral_kappa
from adana.plrf.spectrum import Spectrum
from adana.plrf.stability import lipschitz_bound
from adana.schedules import DELTA

FIRST_HORIZON = 1000
PER_DECADE = 2
"""Horizons in a factor of ten."""
VALUES = 8
"""Values of the slope `a` in a factor of ten."""
FEWEST = 3
"""Horizons that a law is fitted to."""
EVERYTHING = 1.0
"""A slope that the fastest direction does not bear at the default step, at any batch."""
VISIBLE = 30.0
"""Risks above this multiple of a horizon's lowest are not drawn."""


def alpha_tilde_experiment(
    alpha: float = ALPHA,
    beta: float = BETA,
    *,
    dimension: int = DIMENSION,
    batches: Sequence[int] = (1, 16),
    total_steps: int = 10_000_000,
    delta: float = DELTA,
    progress: Progress = silent,
) -> Result:
    """Integrate the momentum multiplier `a (1 + t)` for many a, and find the best of each horizon.

    For each batch the exponent and the factor of the power law of the best a over the horizons T
    are fitted; theory has `-1/(2 alpha)` and a factor that grows with the batch. `alpha`, `beta`,
    `dimension` are those of `PLRF`.

    Raises:
        ValueError: parameters outside their range.
    """
    if not batches:
        raise ValueError("batches must name at least one value, say 1")
    for batch in batches:
        check_integer("batches", batch, low=1)
    horizons = powers_of_ten(FIRST_HORIZON, total_steps, PER_DECADE)
    if len(horizons) < 3:
        raise ValueError(f"steps must be at least {10 * FIRST_HORIZON}, got {total_steps}")
    spectrum = deterministic_spectrum(alpha, beta, dimension)
    kappa = spectral_kappa(alpha)
    sweeps = {}
    for i, batch in enumerate(batches):
        slopes = _slopes(kappa, batch, total_steps)
        part = (i / len(batches), (i + 1) / len(batches))
        risks = _sweep(spectrum, slopes, batch, horizons, delta, progress=progress, part=part)
        sweeps[batch] = (slopes, risks)
    best = [row for batch in batches for row in _best(batch, *sweeps[batch], horizons)]
    laws = [_law(batch, best, kappa, helps=alpha > 0.5) for batch in batches]
    limits = {batch: _fastest_limit(spectrum, batch, delta) for batch in batches}
    return Result(
        name="alpha-tilde",
        title=f"How strong the momentum should be at alpha = {alpha:g}",
        about=(
            "The momentum multiplier here is a (1 + t) with a constant slope a, so nothing in the "
            "sweep knows of a damping exponent. For each training length T there is a best slope. "
            "If it falls like T^-kappa, then the multiplier that is best at T reaches "
            "(1 + T)^(1 - kappa) there: ADana's schedule joins the ends of the best straight ones. "
            "Theory says that kappa is 1/(2 alpha)."
        ),
        settings={
            "alpha, beta": f"{alpha:g}, {beta:g}",
            "d": size_in_words(dimension),
            "batches": ", ".join(map(str, batches)),
            "gamma2": ", ".join(f"{default_step(spectrum.trace, b):.4g}" for b in batches),
            "delta": f"{delta:g}",
        },
        findings=_findings(laws, best, spectrum.floor, limits),
        plots=(
            _best_plot(best, laws),
            _bowls_plot(batches[0], *sweeps[batches[0]], horizons),
        ),
        tables=(
            table(
                "alpha-tilde-law",
                "The law of the best slope",
                {
                    "batch": "samples a step",
                    "exponent": "fitted over the horizons: the best slope goes like T^exponent",
                    "theory": "minus 1/(2 alpha); - where 2 alpha is at most 1: momentum cannot "
                    "help there",
                    "factor": "mean of a T^(1/(2 alpha)) over the horizons, geometric",
                    "horizons": "number of training lengths fitted, those at an edge left out; "
                    f"there is no law of less than {FEWEST}",
                },
                laws,
            ),
            table(
                "alpha-tilde-best",
                "The best slope of each horizon",
                {
                    "batch": "samples a step",
                    "T": "steps of training",
                    "best a": "lowest point, by a parabola through the three values around it",
                    "multiplier at T": "best a times (1 + T)",
                    "risk": "risk at the best slope",
                    "edge": "end: the best is the first or last value that was tried; divergence: "
                    "a value beside it diverges",
                },
                best,
            ),
        ),
        data=(points("alpha-tilde", "Risk of every slope", _rows(sweeps, horizons)),),
    )


def _slopes(kappa: float, batch: int, total_steps: int) -> np.ndarray:
    """Return the slopes to try, around those that theory expects from the first horizon on.

    None are much above what any batch bears: large ones would expect all of theirs there.
    """
    ends = (batch * FIRST_HORIZON**-kappa, batch * float(total_steps) ** -kappa)
    high, low = (min(end, EVERYTHING) for end in ends)
    count = int(np.ceil(VALUES * np.log10(high / low))) + VALUES * 2
    return np.geomspace(low / 30, 10 * high, count + 1)


def _sweep(
    spectrum: Spectrum,
    slopes: np.ndarray,
    batch: int,
    horizons: Sequence[int],
    delta: float,
    *,
    progress: Progress,
    part: tuple[float, float],
) -> np.ndarray:
    """Return risks of shape (horizons, slopes), NaN after a divergence."""
    step = default_step(spectrum.trace, batch)
    risks = np.full((len(horizons), len(slopes)), np.nan)
    for i, slope in tracked(
        list(enumerate(slopes)), progress, lambda item: f"batch {batch}, a = {item[1]:.2g}", part
    ):
        method = linear_average(step, float(slope), delta=delta)
        found = integrate(spectrum, method, batch=batch, total_steps=horizons[-1])
        risks[:, i] = [found.at(horizon) for horizon in horizons]
    return risks


def _best(
    batch: int, slopes: np.ndarray, risks: np.ndarray, horizons: Sequence[int]
) -> list[dict[str, Any]]:
    rows = []
    for horizon, risk in zip(horizons, risks, strict=True):
        found = lowest(np.log(slopes), np.log(risk))
        a = float(np.exp(found.x))
        rows.append(
            {
                "batch": batch,
                "T": horizon,
                "best a": a,
                "multiplier at T": a * (1 + horizon),
                "risk": float(np.exp(found.y)),
                "edge": found.edge,
            }
        )
    return rows


def _of(batch: int, best: Sequence[Row]) -> list[Row]:
    return [row for row in best if row["batch"] == batch]


def _inside(batch: int, best: Sequence[Row]) -> list[Row]:
    """Return the horizons of a batch whose best slope is not at an edge."""
    return [row for row in _of(batch, best) if row["edge"] is None]


def _law(batch: int, best: Sequence[Row], kappa: float, *, helps: bool) -> dict[str, Any]:
    """Return the law of the best slopes; its numbers are None where too few are left to fit.

    Theory is that of momentum, so None unless it `helps`.
    """
    used = _inside(batch, best)
    law = {
        "batch": batch,
        "exponent": None,
        "theory": -kappa if helps else None,
        "factor": None,
        "horizons": len(used),
    }
    if len(used) < FEWEST:
        return law
    horizons, values = [row["T"] for row in used], np.array([row["best a"] for row in used])
    exponent, _ = power_law(horizons, values)
    factor = float(np.exp(np.mean(np.log(values * np.array(horizons, dtype=float) ** kappa))))
    return {**law, "exponent": exponent, "factor": factor}


def _fastest_limit(spectrum: Spectrum, batch: int, delta: float) -> float:
    """Return the slope from which on the fastest direction oscillates, at any batch (spec 8.1)."""
    steps = np.geomspace(1, FIRST_HORIZON, 100)
    method = linear_average(default_step(spectrum.trace, batch), 1.0, delta=delta)
    at = method.at(steps)
    return float(np.min(lipschitz_bound(spectrum, method, steps=steps) / (at.gamma1 * at.gamma3)))


def _findings(
    laws: Sequence[Row], best: Sequence[Row], floor: float, limits: Mapping[int, float]
) -> tuple[str, ...]:
    fitted = [law for law in laws if law["exponent"] is not None]
    said = [_exponents(fitted)] if fitted else []
    if len(fitted) > 1 and fitted[0]["theory"] is not None:
        first, last = fitted[0], fitted[-1]
        said.append(
            f"From batch {first['batch']} to {last['batch']} the best slope grows by a factor "
            f"{last['factor'] / first['factor']:.3g}; theory says "
            f"{last['batch'] / first['batch']:g}, as the batch."
        )
    if laws[0]["theory"] is None:
        said.append(
            "Theory has no law to compare with where 2 alpha is at most 1: momentum cannot help "
            "there, and the best slope is what does the least harm."
        )
    said += [_no_law(law, best, limits) for law in laws if law["exponent"] is None]
    lowest_risk = min(best, key=lambda row: row["risk"])
    return (*said, *floor_caution(floor / lowest_risk["risk"], lowest_risk["T"]))


def _exponents(laws: Sequence[Row]) -> str:
    exponents = " and ".join(f"T^{law['exponent']:.3f} (batch {law['batch']})" for law in laws)
    theory = laws[0]["theory"]
    if theory is None:
        return f"The best slope goes like {exponents}."
    return (
        f"The best slope falls like {exponents}; theory says T^{theory:.3f}, which makes the best "
        f"multiplier at T grow like T^{1 + theory:.3f}."
    )


def _no_law(law: Row, best: Sequence[Row], limits: Mapping[int, float]) -> str:
    """Say why a batch has no law."""
    batch = law["batch"]
    rows = _of(batch, best)
    beside = [row for row in rows if row["edge"] == "divergence"]
    ends = sum(row["edge"] == "end" for row in rows)
    places = [f"beside one that diverges at {len(beside)}"] if beside else []
    places += [f"at the end of the values tried at {ends}"] if ends else []
    said = (
        f"Batch {batch}: the best slope lies {' and '.join(places)} of {len(rows)} horizons, which "
        "leaves too few for a law."
    )
    limit = limits[batch]
    if any(limit < 2 * row["best a"] for row in beside):
        said += (
            f" Noise is not what ends the bowls there: from about a = {limit:.2g} on the fastest "
            "direction oscillates and everything soon diverges, whatever the batch."
        )
    return said


def _best_plot(best: Sequence[Row], laws: Sequence[Row]) -> Plot:
    labels = [f"batch {law['batch']}" for law in laws]
    lines, guides = [], []
    for label, law in zip(labels, laws, strict=True):
        fitted = law["factor"] is not None
        rows = _inside(law["batch"], best) if fitted else _of(law["batch"], best)
        lines += curve(label, [row["T"] for row in rows], [row["best a"] for row in rows])
        theory = law["theory"]
        if theory is None or not fitted:
            continue
        first, last = float(rows[0]["T"]), float(rows[-1]["T"])
        anchor = (first, law["factor"] * first**theory)
        guides += guide(label, theory, anchor, (first, last), f"slope {theory:.3g} (theory)")
    chart = log_chart(
        lines,
        labels,
        "training length T (steps)",
        "best slope a of the multiplier a (1 + t)",
        guides=guides,
        marks=lines,
    )
    caption = (
        "Points: the slope a with the lowest risk after T steps; those at an edge are left out of "
        "batches that have a law. Dotted: the power law of theory, with the factor that fits best."
    )
    return Plot("alpha-tilde", "The best straight multiplier at each horizon", caption, chart)


def _bowls_plot(batch: int, slopes: np.ndarray, risks: np.ndarray, horizons: Sequence[int]) -> Plot:
    labels, lines, marks = [], [], []
    for horizon, risk in list(zip(horizons, risks, strict=True))[::PER_DECADE]:
        label = f"T = {power_of_ten(horizon)}"
        labels.append(label)
        lines += curve(label, slopes, np.where(risk < VISIBLE * np.nanmin(risk), risk, np.nan))
        found = lowest(np.log(slopes), np.log(risk))
        marks.append({BY: label, "x": float(np.exp(found.x)), "y": float(np.exp(found.y))})
    chart = log_chart(lines, labels, "slope a", "risk P after T steps", marks=marks)
    caption = (
        f"Batch {batch}. To the left the momentum is too weak to help; to the right its noise "
        "takes over, and the line ends where the method diverges. Longer trainings want smaller a."
    )
    return Plot("alpha-tilde-bowls", "Risk after T steps against the slope", caption, chart)


def _rows(sweeps: dict[int, Any], horizons: Sequence[int]) -> list[Row]:
    return [
        {"batch": batch, "T": horizon, "a": float(slope), "risk": float(risks[i, j])}
        for batch, (slopes, risks) in sweeps.items()
        for i, horizon in enumerate(horizons)
        for j, slope in enumerate(slopes)
    ]
