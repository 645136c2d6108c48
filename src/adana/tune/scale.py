"""A size at which something is tuned, and which of several tuned sizes is nearest to it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from adana.checks import check_range


@dataclass(frozen=True)
class Scale:
    """A model size and an amount of data."""

    name: str = "all"
    """As reports call it."""
    parameters: float = 1.0
    """N, all parameters of the model."""
    tokens: float = 1.0
    """D, tokens (or samples) of a training."""

    def __post_init__(self) -> None:
        check_range("parameters", self.parameters, low=0.0, low_open=True)
        check_range("tokens", self.tokens, low=0.0, low_open=True)

    @property
    def work(self) -> float:
        """N times D: in proportion to what a training costs."""
        return self.parameters * self.tokens

    def distance(self, other: Scale) -> float:
        """Return how far another scale is, in e-folds of N and D."""
        return math.hypot(
            math.log(self.parameters / other.parameters), math.log(self.tokens / other.tokens)
        )

    def shares(self, quantity: str, other: Scale) -> bool:
        """Whether the other has the same "parameters" or "tokens", within 2 %: steps are whole."""
        return math.isclose(getattr(self, quantity), getattr(other, quantity), rel_tol=0.02)


def nearest(scale: Scale, others: Iterable[Scale]) -> Scale | None:
    """Return the nearest of other scales; None if there is none."""
    return min(others, key=scale.distance, default=None)
