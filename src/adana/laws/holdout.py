"""Leave the largest sizes out, fit again, and see what the law would have promised.

A law is used to look upwards, and nothing else tests that: inside the range every law fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adana.laws.curves import Curve


@dataclass(frozen=True)
class LeftOut:
    """What the law of the smaller sizes said about the largest one."""

    compute: float
    observed: float
    """Mean loss over seeds, nats a token."""
    predicted: float

    @property
    def error(self) -> float:
        """Predicted minus observed log loss."""
        return math.log(self.predicted / self.observed)


def leave_largest_out(
    curves: Sequence[Curve],
    refit: Callable[[Sequence[Curve]], Mapping[str, Callable[[float], float]]],
) -> dict[str, LeftOut]:
    """Fit all but the largest size of every curve with `refit`; return what it said about that.

    Empty where too few sizes would be left.
    """
    if any(len(curve.points) < 3 for curve in curves):
        return {}
    try:
        laws = refit([curve.without_largest() for curve in curves])
    except ValueError:
        return {}
    return {
        curve.name: LeftOut(
            curve.points[-1].compute,
            curve.points[-1].mean,
            float(laws[curve.name](curve.points[-1].compute)),
        )
        for curve in curves
    }
