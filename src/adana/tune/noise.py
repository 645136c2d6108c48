"""How large a difference must be to count: rules that are fixed before the data.

Two thresholds (spec/peers_harness section 2.2): a better value is taken into the baseline only if
it gains more than `delta1`; values within `delta2` of the best are as good as it. marin's numbers
are right for marin's runs. Where seeds of the baseline were trained, both follow from their spread:

* sigma: the standard deviation of the loss over seeds, pooled over all scales measured so far (the
  sum of squared deviations over the sum of degrees of freedom), at the configuration that each
  begins with; once that has moved, at the one it has moved to.
* delta1 = t * sigma * sqrt(2 / seeds): what the difference of two means of `seeds` seeds exceeds in
  one of 20 cases where there is no difference; t is Student's 95 % point for sigma's degrees of
  freedom, as sigma itself is only estimated.
* delta2 = delta1 * 6.4 / 3: the ratio of marin's two. It is larger because the best of several
  values looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adana.laws.quantiles import student_point

PUBLISHED_DELTA1, PUBLISHED_DELTA2 = 3e-3, 6.4e-3
"""arXiv 2509.02046, for language models of 130 M to 1.2 B parameters."""
CONFIDENCE = 0.95
"""One-sided level of a difference that counts."""


@dataclass(frozen=True)
class NoiseFloor:
    """The thresholds of a search, and where they come from."""

    delta1: float = PUBLISHED_DELTA1
    """A better value must gain more than this."""
    delta2: float = PUBLISHED_DELTA2
    """Values within this of the best are near-optimal."""
    source: str = "published thresholds of arXiv 2509.02046: no noise was measured here"
    """In words."""
    sigma: float | None = None
    """Standard deviation of the loss over seeds, if measured."""
    freedom: int = 0
    """Degrees of freedom of sigma."""


def pooled_sigma(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the pooled standard deviation of groups of losses, and its degrees of freedom.

    Infinite losses are left out; without a group of two (0.0, 0).
    """
    squares, freedom = 0.0, 0
    for group in groups:
        finite = [loss for loss in group if math.isfinite(loss)]
        if len(finite) < 2:
            continue
        mean = math.fsum(finite) / len(finite)
        squares += math.fsum((loss - mean) ** 2 for loss in finite)
        freedom += len(finite) - 1
    return (math.sqrt(squares / freedom) if freedom else 0.0), freedom


def noise_floor(
    groups: Sequence[Sequence[float]],
    seeds: int = 1,
    delta1: float | None = None,
    delta2: float | None = None,
) -> NoiseFloor:
    """Return the thresholds: those given, else by the measured noise, else the published ones.

    Args:
        groups: losses of a baseline with several seeds, a group per scale.
        seeds: how many seeds the search trains of each configuration.
        delta1, delta2: thresholds that are to be used whatever the noise is.

    Raises:
        ValueError: a threshold is negative, or delta2 is below delta1.
    """
    sigma, freedom = pooled_sigma(groups)
    if freedom:
        point = student_point(CONFIDENCE, freedom)
        first = point * sigma * math.sqrt(2 / seeds)
        second = first * PUBLISHED_DELTA2 / PUBLISHED_DELTA1
        source = (
            f"measured: sigma {sigma:.2g} over seeds ({freedom} degrees of freedom); "
            f"delta1 = {point:.2f} sigma sqrt(2 / {seeds}), delta2 = delta1 * 6.4 / 3"
        )
    else:
        first, second, source = PUBLISHED_DELTA1, PUBLISHED_DELTA2, NoiseFloor.source
    if delta1 is not None or delta2 is not None:
        source = f"given (the rest {source})" if None in (delta1, delta2) else "given"
        first = first if delta1 is None else delta1
        second = max(second, first) if delta2 is None else delta2
    if not 0 <= first <= second < math.inf:
        raise ValueError(f"expected 0 <= delta1 <= delta2, got delta1 {first:g}, delta2 {second:g}")
    return NoiseFloor(first, second, source, sigma if freedom else None, freedom)
