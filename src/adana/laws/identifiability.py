"""What the runs fix and what they do not, in words.

Every sentence rests on one number that it quotes: an interval, or the F-test of a law inside a
larger one. "Not identified" is the common answer for a saturation and the rule for the terms of a
broken law, while the multiplier inside the measured range is known all the same: numbers that trade
off against each other cancel in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.holdout import LeftOut
from adana.laws.quantiles import fisher_tail
from adana.laws.resampling import Noise
from adana.laws.saturation import SaturationProfile

Floats = NDArray[np.float64]

SIGNIFICANT = 0.05
"""p below which a larger law is said to fit better than the noise explains."""

WIDE = 2.0
"""Ratio of an exponent interval's ends from which the exponent counts as not identified."""


@dataclass(frozen=True)
class Rival:
    """A simpler law inside the fitted one, or a larger one around it."""

    name: str
    cost: float
    free: int


@dataclass(frozen=True)
class Evidence:
    """The numbers that the sentences quote."""

    form: str
    cost: float
    free: int
    points: int
    noise: Noise
    profile: SaturationProfile | None
    intervals: Mapping[str, Floats]
    """By curve: intervals of (a, b, c, e, f), shape (5, 2)."""
    level: float
    rivals: tuple[Rival, ...]
    left_out: Mapping[str, LeftOut]
    outliers: tuple[str, ...]


def describe(evidence: Evidence) -> tuple[str, ...]:
    """Return the statements about a fit, most important first."""
    said = [_of_noise(evidence), *_of_saturation(evidence), *_of_exponents(evidence)]
    said += [_of_rival(evidence, rival) for rival in evidence.rivals]
    if evidence.left_out:
        said.append(_of_left_out(evidence))
    if evidence.outliers:
        said.append(
            f"{', '.join(evidence.outliers)} lie more than four times the scale of the residuals "
            "away from the law and count less; look at these runs"
        )
    return tuple(said)


def _of_noise(evidence: Evidence) -> str:
    noise = evidence.noise
    if not noise.freedom:
        return (
            f"no intervals: the noise is known from {noise.source}; train more sizes, or two seeds"
        )
    few = "; few, so the intervals are wide" if noise.freedom < 4 else ""
    return f"noise of a point: {100 * noise.sigma:.2g} % of the loss, from {noise.source}{few}"


def _of_saturation(evidence: Evidence) -> list[str]:
    profile = evidence.profile
    if profile is None:
        return []
    level = f"{100 * profile.level:g} % interval {profile.low:.3g} to {profile.high:.3g}"
    if profile.open_below and profile.open_above:
        return [f"the saturation a is not identified: every possible value fits ({level})"]
    if profile.open_below:
        return [f"the saturation a is not identified: the runs agree with none at all ({level})"]
    if profile.open_above:
        return [f"the saturation a is not identified: only bounded below ({level})"]
    return [f"the saturation a is identified by its profile: {level}"]


def _of_exponents(evidence: Evidence) -> list[str]:
    if not evidence.noise.freedom:
        return []
    loose = []
    for name, interval in evidence.intervals.items():
        for letter, row in (("c", 2), ("f", 4)):
            low, high = interval[row]
            used = high > 0
            if used and (low <= 0 or high / low > WIDE):
                loose.append(f"{letter} of {name} ({low:.3g} to {high:.3g})")
    if not loose:
        return []
    return [
        f"not identified: exponent {', '.join(loose)}; do not read these numbers, nor what the law "
        "says far outside of the sizes measured"
    ]


def _of_rival(evidence: Evidence, rival: Rival) -> str:
    """Compare nested laws by their F-test: the larger one must pay for its parameters."""
    small, large = (rival, evidence) if rival.free < evidence.free else (evidence, rival)
    freedom, more = evidence.points - large.free, large.free - small.free
    names = (rival.name, "this law") if small is rival else ("this law", rival.name)
    if freedom < 1 or more < 1:
        return f"{rival.name} cannot be tested against this law: too few sizes"
    ratio = max(small.cost - large.cost, 0) / more / max(large.cost / freedom, 1e-300)
    p = fisher_tail(ratio, more, freedom)
    if p < SIGNIFICANT:
        return f"{names[1]} fits better than {names[0]} (F-test p = {p:.2g})"
    return (
        f"{names[0]} fits as well as {names[1]} (F-test p = {p:.2g}): the data do not ask for more"
    )


def _of_left_out(evidence: Evidence) -> str:
    parts = [f"{name} {100 * one.error:+.2g} %" for name, one in evidence.left_out.items()]
    return (
        "fitted without the largest sizes, the law misses their losses by "
        f"{', '.join(parts)} (predicted minus observed)"
    )
