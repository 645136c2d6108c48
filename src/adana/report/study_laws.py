"""From the chosen losses of a study to curves over compute, loss laws and compute multipliers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adana.laws import Observation
from adana.laws.curves import Curve, with_a_law
from adana.laws.loss_law import LawFit, fit_loss_laws
from adana.laws.multiplier_curve import MultiplierCurve, fitted_multiplier, piecewise_multiplier
from adana.report.cells import Scale
from adana.report.choice import Choice

BEYOND = 1.5
"""Factor of compute by which fitted laws go on beyond the runs."""
POINTS = 60
"""Points of a fitted law."""
SAME_RATIO = 1.15
"""Tokens a parameter within this factor are one ladder: steps are whole numbers."""


Axis = Literal["compute", "with_head"]
"""Which compute of a `Scale` losses are laid out over."""


@dataclass(frozen=True)
class Worth:
    """A compute multiplier at one compute, with its interval; None where it cannot be said."""

    value: float | None
    low: float | None
    high: float | None
    inside: bool
    """Whether the loss lies in what the baseline measured; else it is extrapolated."""
    separable: bool
    """Whether the interval excludes 1."""


@dataclass(frozen=True)
class Findings:
    """The laws and multipliers of a study."""

    fit: LawFit | None = None
    fitted: Mapping[str, MultiplierCurve] = field(default_factory=dict)
    piecewise: Mapping[str, MultiplierCurve] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    """What could not be found and why, and what the fits say of themselves."""

    def at(self, label: str, compute: float | None) -> Worth | None:
        """Return the piecewise multiplier of a label at one of its own computes."""
        curve = self.piecewise.get(label)
        if curve is None or compute is None:
            return None
        for i, at in enumerate(curve.compute):
            if math.isclose(float(at), compute, rel_tol=1e-9):
                return Worth(
                    _known(curve.value[i]),
                    _known(curve.low[i]),
                    _known(curve.high[i]),
                    bool(curve.inside[i]),
                    bool(curve.separable[i]),
                )
        return None


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def ladder(scales: Sequence[Scale]) -> tuple[Scale, ...]:
    """Return the scales that belong to one curve over compute, by ascending compute.

    All of them where there is one model (its lengths are the curve), or one length for each model.
    Else those with the same tokens a parameter (of all, or of those without embeddings, whichever
    more models share): along a curve only one thing should grow.
    """
    known = [scale for scale in scales if scale.compute and scale.tokens]
    models = {scale.model for scale in known}
    if len(models) < 2 or len(known) == len(models):
        return _ascending(known)
    best: list[Scale] = []
    for size in ("all_parameters", "parameters"):
        for group in _same_ratio(known, size):
            if len({s.model for s in group}) > len({s.model for s in best}):
                best = group
    longest = {scale.model: scale for scale in sorted(best, key=lambda scale: scale.steps)}
    return _ascending(longest.values())


def _ascending(scales: Iterable[Scale]) -> tuple[Scale, ...]:
    """Sort by compute, and keep the first of those with the same one."""
    found: list[Scale] = []
    for scale in sorted(scales, key=lambda scale: scale.order):
        last = found[-1].compute if found else None
        if last is None or not math.isclose(last, scale.compute or last, rel_tol=1e-9):
            found.append(scale)
    return tuple(found)


def _same_ratio(scales: Sequence[Scale], size: str) -> list[list[Scale]]:
    """Sort scales by tokens a parameter and cut where the next one is no longer the same."""
    pairs = [
        (scale.tokens / parameters, scale)
        for scale in scales
        if scale.tokens and (parameters := getattr(scale, size))
    ]
    groups: list[list[Scale]] = []
    start = 0.0
    for ratio, scale in sorted(pairs, key=lambda pair: pair[0]):
        if not groups or ratio > SAME_RATIO * start:
            groups.append([])
            start = ratio
        groups[-1].append(scale)
    return groups


def curves_of(
    choices: Sequence[Choice],
    scales: Sequence[Scale],
    labels: Sequence[str],
    axis: Axis = "compute",
) -> dict[str, Curve]:
    """Return each label's final losses over the compute of `scales`, where it finished any."""
    found = {}
    for label in labels:
        own = {choice.scale: choice for choice in choices if choice.label == label}
        points = tuple(
            Observation(at, own[scale].losses)
            for scale in scales
            if (at := getattr(scale, axis)) and scale in own and own[scale].losses
        )
        if points:
            found[label] = Curve(label, points)
    return found


def compute_grid(computes: Sequence[float]) -> NDArray[np.float64]:
    """Return the compute (PFH) that fitted laws are drawn at: that of the runs and a bit more."""
    return np.geomspace(min(computes) / BEYOND, max(computes) * BEYOND, POINTS)


def find_laws(curves: Mapping[str, Curve], baseline: str) -> Findings:
    """Fit the laws and read off the multipliers; where that is impossible, say why."""
    if baseline not in curves or len(curves[baseline].points) < 2:
        count = len(curves[baseline].points) if baseline in curves else 0
        have = "one size" if count == 1 else "no finished size"
        return Findings(
            statements=(
                f"No compute multiplier: it needs the baseline {baseline} at two or more sizes, "
                f"and there is {have}.",
            )
        )
    piecewise, fitted = _piecewise(curves, baseline), {}
    said = {text: None for found in piecewise.values() for text in found.statements}
    others = list(piecewise)
    fit = None
    enough, too_short = with_a_law(curves.values())
    said |= dict.fromkeys(too_short)
    try:
        fit = fit_loss_laws(enough)
    except ValueError as error:
        said[f"no loss law was fitted: {error}"] = None
    if fit is not None:
        said |= dict.fromkeys(fit.statements)
        for name in (name for name in others if name in fit.laws):
            fitted[name] = fitted_multiplier(fit, baseline, name)
            # The words are of the sizes that were trained, not of the points of a drawing.
            at_sizes = fitted_multiplier(fit, baseline, name, curves[name].computes)
            said |= dict.fromkeys(at_sizes.statements)
    return Findings(fit, fitted, piecewise, tuple(map(_sentence, said)))


def find_with_head(
    choices: Sequence[Choice], scales: Sequence[Scale], labels: Sequence[str]
) -> Findings:
    """Return the piecewise multipliers over compute with the FLOPs of the head, baseline first.

    Where the head is a large part of the model, 6 P D grows faster from size to size than what is
    computed, and stretches every multiplier. Empty where runs do not say, or the baseline has one
    size only.
    """
    baseline = labels[0]
    curves = curves_of(choices, scales, labels, "with_head")
    if baseline not in curves or len(curves[baseline].points) < 2:
        return Findings()
    return Findings(piecewise=_piecewise(curves, baseline))


def _piecewise(curves: Mapping[str, Curve], baseline: str) -> dict[str, MultiplierCurve]:
    found = {}
    for name, curve in curves.items():
        if name != baseline:
            others = [own for own in curves.values() if own.name not in (baseline, name)]
            found[name] = piecewise_multiplier(curves[baseline], curve, others=others)
    return found


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
