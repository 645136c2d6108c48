"""Power-law random features: the least-squares problem on which log-time schedules were derived.

Hidden inputs `X_j = j^-alpha z_j` (z standard normal, j = 1..v), targets `y = sum_j j^-beta X_j`,
features `W^T X` with `W` of v x d numbers from N(0, 1/d), drawn once. Given W the problem is a
d-dimensional Gaussian least-squares problem with label noise, so all that training sees of it are
d eigenvalues, d starting errors and a floor (arXiv 2405.15074, 2505.16098; spec/plrf.md section 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from adana.checks import check_integer, check_range
from adana.plrf.spectrum import Spectrum

HIDDEN_RATIO = 4
"""Hidden dimensions per parameter unless asked otherwise (spec/plrf.md section 1.1)."""


@dataclass(frozen=True)
class PLRF:
    """A power-law random features problem of `dimension` parameters, drawn from a seed.

    `alpha > 0` is how fast the features' scales fall and `beta` how fast the target's do;
    `2 alpha + 2 beta > 1`, so that the target's norm is finite however many hidden inputs there
    are (beta may be negative). `hidden`, the number of hidden inputs v, is more than `dimension`;
    None means `4 * dimension`. Raises `ValueError` for anything else.
    """

    alpha: float
    beta: float
    dimension: int
    hidden: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_exponents(self.alpha, self.beta)
        hidden_inputs(self.dimension, self.hidden)
        check_integer("seed", self.seed, low=0)

    @property
    def hidden_inputs(self) -> int:
        """Number of hidden inputs v: `hidden`, or four times `dimension`."""
        return hidden_inputs(self.dimension, self.hidden)

    def draw(self) -> DrawnProblem:
        """Draw W from the seed and solve the problem; O(v d^2) time, `8 v d` bytes twice or so.

        Raises `ValueError` where the features fall off so fast that float64 does not tell them
        apart.
        """
        j = np.arange(1, self.hidden_inputs + 1, dtype=np.float64)
        weights = np.random.default_rng(self.seed).standard_normal((j.size, self.dimension))
        features = weights * (j**-self.alpha / np.sqrt(self.dimension))[:, None]
        return solve(features, j ** -(self.alpha + self.beta))


@dataclass(frozen=True, eq=False)
class DrawnProblem:
    """A problem with its matrix: the risk `2P(theta) = |features theta - targets|^2`, solved.

    `features` (v, d) and `targets` (v,) hold the scale of each hidden input: a batch is
    `Z @ features`, `Z @ targets` with Z standard normal of shape (batch, v). `eigenvalues` (d,),
    largest first, and the columns of `basis` (d, d) belong to `features.T @ features`. `optimum`
    (d,) is the best theta and `start` (d,) the signed distances `basis.T @ (0 - optimum)` of
    `theta = 0` from it, whose squares are the `errors` of the spectrum. `twice_floor` is 2P at the
    optimum. All float64. Source: spec/plrf.md section 1.2.
    """

    features: np.ndarray
    targets: np.ndarray
    eigenvalues: np.ndarray
    basis: np.ndarray
    start: np.ndarray
    optimum: np.ndarray
    twice_floor: float

    def spectrum(self) -> Spectrum:
        """Return what predictions need: each eigenvalue once, and the squared starting errors."""
        return Spectrum(
            self.eigenvalues, self.start**2, np.ones_like(self.eigenvalues), self.twice_floor
        )

    def risk(self, theta: np.ndarray) -> np.ndarray:
        """Return the risk P of parameters of shape (..., d); the result has the shape (...)."""
        u = (np.asarray(theta, dtype=np.float64) - self.optimum) @ self.basis
        return (self.twice_floor + u**2 @ self.eigenvalues) / 2


def solve(features: np.ndarray, targets: np.ndarray) -> DrawnProblem:
    """Solve the least-squares problem of given features (v, d), of full rank, and targets (v,).

    Eigenvalues come from the lengths of the rotated features, which keeps the digits of the
    smallest ones that the eigenvalues of `features.T @ features` lose. Raises `ValueError` where
    rank is missing to working precision.
    """
    basis = scipy.linalg.eigh(features.T @ features, driver="evd")[1][:, ::-1]
    rotated = features @ basis
    eigenvalues = np.einsum("vd,vd->d", rotated, rotated)
    if eigenvalues.min() <= eigenvalues.max() * eigenvalues.size * np.finfo(np.float64).eps:
        raise ValueError(
            f"features of shape {features.shape} must have independent columns: their scales fall "
            "too fast for float64; use a smaller alpha or fewer dimensions"
        )
    along = rotated.T @ targets / eigenvalues
    rest = targets - rotated @ along
    return DrawnProblem(
        features=features,
        targets=targets,
        eigenvalues=eigenvalues,
        basis=basis,
        start=-along,
        optimum=basis @ along,
        twice_floor=float(rest @ rest),
    )


def check_exponents(alpha: float, beta: float) -> None:
    """Raise `ValueError` unless `alpha > 0` and `2 alpha + 2 beta > 1` (spec section 1.1)."""
    check_range("alpha", alpha, low=0.0, low_open=True)
    check_range("beta", beta)
    if 2 * alpha + 2 * beta <= 1:
        raise ValueError(
            f"2 alpha + 2 beta must be more than 1 for a target of finite norm, got alpha={alpha:g}"
            f" and beta={beta:g}: take beta above {0.5 - alpha:g}"
        )


def hidden_inputs(dimension: int, hidden: int | None) -> int:
    """Return the number of hidden inputs: `hidden`, by default four times `dimension`.

    Raises `ValueError` unless `dimension >= 1` and `hidden > dimension`.
    """
    check_integer("dimension", dimension, low=1)
    if hidden is None:
        return HIDDEN_RATIO * dimension
    check_integer("hidden", hidden, low=1)
    if hidden <= dimension:
        raise ValueError(
            f"hidden must be more than dimension ({dimension}), got {hidden}: with as many "
            "parameters as hidden inputs nothing is left to be learned by fewer"
        )
    return hidden
