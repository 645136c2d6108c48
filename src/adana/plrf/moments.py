"""The expected risk, exactly: one linear map per step and eigenvalue.

With `u` the distance from the minimum along an eigenvector and `y` the momentum buffer there, the
moments `V = (E u^2, E y^2, E u y)` of Gaussian features obey, with no limit of large dimension,

    V' = A_t V + 2P G_t,        2P = floor + sum_k counts_k eigenvalues_k E u_k^2

where `2P` is that of before the step. Source: spec/plrf.md section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adana.checks import check_range
from adana.plrf.momentum import Coefficients
from adana.plrf.spectrum import Spectrum

U_SQUARED, Y_SQUARED, U_Y = 0, 1, 2
"""Where the three moments stand in the first axis of a state."""

BLOW_UP = 1e6
"""A risk of this many times the start is a divergence (spec/plrf.md section 6.1)."""

CHUNK = 1 << 13
"""About how many eigenvalues times steps have their maps computed together: what a cache holds."""


def steps_together(spectrum: Spectrum) -> int:
    """Return how many steps have their maps computed together: at least 1, by `CHUNK`."""
    return max(1, CHUNK // spectrum.eigenvalues.size)


@dataclass(frozen=True)
class MomentChange:
    """What one step changes: `change` is A - I, (3, 3, ..., n), and `noise` is G, (3, ..., n)."""

    change: np.ndarray
    noise: np.ndarray

    def propagator(self) -> np.ndarray:
        """Return A itself, shape (3, 3, ..., n)."""
        a = self.change.copy()
        for i in range(3):
            a[i, i] += 1
        return a


def moment_change(
    coefficients: Coefficients, eigenvalues: np.ndarray, batch: float
) -> MomentChange:
    """Return A - I and G of each step of `coefficients` and each of n eigenvalues.

    For coefficients of shape (...) the shapes are (3, 3, ..., n) and (3, ..., n). The difference
    keeps its digits for eigenvalues near zero. `batch` may be infinite: gradients without noise.
    """
    check_range("batch", batch, low=0.0, low_open=True, finite=False)
    gamma1, gamma2, gamma3, forget = (c[..., None] for c in coefficients.columns())
    fresh = gamma2 + gamma1 * gamma3
    keep = 1 - forget
    stale = gamma3 * keep
    lam = np.asarray(eigenvalues, dtype=np.float64)
    square = (1 + 1 / batch) * lam**2

    a = np.empty((3, 3, *np.broadcast_shapes(fresh.shape, lam.shape)))
    a[0, 0] = fresh * (fresh * square - 2 * lam)
    a[0, 1] = stale**2
    a[0, 2] = -2 * stale * (1 - fresh * lam)
    a[1, 0] = gamma1**2 * square
    a[1, 1] = -forget * (2 - forget)
    a[1, 2] = 2 * keep * gamma1 * lam
    a[2, 0] = gamma1 * (lam - fresh * square)
    a[2, 1] = -stale * keep
    a[2, 2] = -forget - (keep * fresh + stale * gamma1) * lam
    g = np.stack([fresh**2 * lam, gamma1**2 * lam, -fresh * gamma1 * lam]) / batch
    return MomentChange(a, g)


def start_state(spectrum: Spectrum) -> np.ndarray:
    """Return the moments before the first step, shape (3, directions): the buffer is empty.

    Raises `TypeError` for a problem in place of its spectrum.
    """
    if not isinstance(spectrum, Spectrum):
        raise TypeError(
            f"a prediction needs a Spectrum, got {type(spectrum).__name__}: take "
            "PLRF(...).draw().spectrum(), or deterministic_spectrum(alpha, beta, dimension)"
        )
    state = np.zeros((3, spectrum.eigenvalues.size))
    state[U_SQUARED] = spectrum.errors
    return state


def twice_risk(spectrum: Spectrum, state: np.ndarray) -> float:
    """Return 2P of a state."""
    weights = spectrum.counts * spectrum.eigenvalues
    return float(spectrum.twice_floor + weights @ state[U_SQUARED])


def buffer_square(spectrum: Spectrum, state: np.ndarray) -> float:
    """Return the expected squared length of the momentum buffer, `sum_k counts_k E y_k^2`."""
    return float(spectrum.counts @ state[Y_SQUARED])


def apply(propagator: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return the matrix-vector product of each eigenvalue: (3, 3, ..., n) with (3, ..., n)."""
    return np.einsum("ij...,j...->i...", propagator, state)


def compose(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the matrix product of each eigenvalue, both of shape (3, 3, ..., n)."""
    return np.einsum("ik...,kj...->ij...", left, right)
