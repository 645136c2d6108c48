"""Final losses over sizes: what every law and every multiplier is fitted to.

One curve is one optimizer, tuned at each size. Its abscissa is compute in PFH unless the caller
chose another one (tokens, seconds, another count of FLOPs): nothing here depends on the unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adana.laws.multiplier import Observation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One optimizer's final losses; `points` holds one observation a size, smallest first."""

    name: str
    points: tuple[Observation, ...]

    def __post_init__(self) -> None:
        computes = [point.compute for point in self.points]
        if not computes or any(b <= a for a, b in pairwise(computes)):
            raise ValueError(
                f"the curve of {self.name!r} needs one observation for each compute, in ascending "
                f"order, got {computes}; put all seeds of one size into one Observation"
            )

    @property
    def computes(self) -> Floats:
        """The abscissa of each point, shape (sizes,)."""
        return np.array([point.compute for point in self.points])

    @property
    def means(self) -> Floats:
        """The mean loss of each point over its seeds, shape (sizes,)."""
        return np.array([point.mean for point in self.points])

    def without_largest(self) -> Curve:
        """Return the curve without its largest size; `ValueError` where that leaves nothing."""
        return Curve(self.name, self.points[:-1])


def with_a_law(curves: Iterable[Curve]) -> tuple[list[Curve], list[str]]:
    """Return the curves of two sizes and more, and in words which others have no law.

    One optimizer that has finished a single size so far takes the laws of the others from nobody.
    """
    several = list(curves)
    enough = [curve for curve in several if len(curve.points) > 1]
    said = [
        f"{curve.name} has one size only: no law of it"
        for curve in several
        if len(curve.points) == 1 and len(several) > 1
    ]
    return enough or several, said
