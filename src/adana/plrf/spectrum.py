"""What the expected risk depends on: eigenvalues, how often each occurs, and where training starts.

A spectrum comes from a drawn matrix (`adana.plrf.problem`), one direction per eigenvalue, or from
the deterministic equivalent (`adana.plrf.equivalent`), where a few hundred weighted directions
stand for up to millions. Everything that predicts a risk takes either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adana.checks import check_range


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A quadratic risk `2P = floor + sum_k counts_k eigenvalues_k u_k^2` and its starting point.

    All arrays are float64 of shape (directions,). `errors` are the squared distances `u_k(0)^2`
    of one direction of each kind from the minimum; `counts` say how many directions of a kind there
    are (fractions are allowed: they sum to the number of parameters d). `twice_floor` is `2 P_inf`,
    the part of the risk that no parameters can remove, which also acts as label noise.
    Source: spec/plrf.md sections 1.2 and 5.
    """

    eigenvalues: np.ndarray
    errors: np.ndarray
    counts: np.ndarray
    twice_floor: float

    def __post_init__(self) -> None:
        for name in ("eigenvalues", "errors", "counts"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.ndim != 1 or value.shape != np.shape(self.eigenvalues) or value.size == 0:
                raise ValueError(
                    f"{name} must be one number per direction, got shape {value.shape}"
                )
            if not np.isfinite(value).all() or (value < 0).any():
                raise ValueError(f"{name} must be finite and not negative")
            object.__setattr__(self, name, value)
        check_range("twice_floor", self.twice_floor, low=0.0)

    @property
    def dimension(self) -> float:
        """Number of parameters d."""
        return float(self.counts.sum())

    @property
    def trace(self) -> float:
        """Sum of all eigenvalues: the expected squared length of a feature vector."""
        return float(self.counts @ self.eigenvalues)

    @property
    def floor(self) -> float:
        """Risk `P_inf` of the best parameters."""
        return self.twice_floor / 2

    @property
    def start(self) -> float:
        """Risk P before the first step."""
        return float(self.twice_floor + self.counts @ (self.eigenvalues * self.errors)) / 2
