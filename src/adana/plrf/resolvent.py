"""The deterministic equivalent's resolvent, read along the curve where eigenvalues lie.

For large d the mean resolvent `s = (1/d) tr (K - z)^-1` of the features' covariance K solves

    z(s) = -1/s + (1/d) sum_j D_j / (1 + D_j s)

(spec/plrf.md section 5.1). That is explicit in s, so nothing here solves for s at a given z: the
spectrum is the image of one curve in the upper half of the s-plane, on which z is real and

    load(s) := (1/d) sum_j |D_j s|^2 / |1 + D_j s|^2 = 1 .

On a circle |s| = r the load grows steadily towards the negative axis, so each radius has one point
of the curve, or none: then -r itself lies in a gap between eigenvalues. Large eigenvalues belong to
small radii. Inside the curve, `load < 1`, s is the resolvent of some z of the upper half plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from adana.plrf.atoms import Atoms

NEWTON_STEPS = 60


@dataclass(frozen=True, eq=False)
class Resolvent:
    """The fixed point for weighted hidden inputs and `dimension` parameters, fewer than those."""

    atoms: Atoms
    dimension: int

    @cached_property
    def at_zero(self) -> float:
        """Return `tau = s(0)`, where `sum_j D_j tau / (1 + D_j tau) = d`; of order d^(2 alpha)."""

        def excess(log_s: float) -> float:
            scaled = np.exp(log_s) * self.atoms.scales
            return float(self.atoms.counts @ (scaled / (1 + scaled))) / self.dimension - 1

        return float(np.exp(_root(excess, np.log(self.last_radius))))

    @cached_property
    def last_radius(self) -> float:
        """Return the s > tau of the smallest eigenvalue."""

        def excess(log_s: float) -> float:
            return float(self.load(np.exp(log_s), 1.0)) - 1

        high = -np.log(self.atoms.scales[-1])
        while excess(high) <= 0:
            high += 1.0
        return float(np.exp(_root(excess, high)))

    @cached_property
    def first_radius(self) -> float:
        """Return -s of the largest eigenvalue."""

        def excess(log_s: float) -> float:
            return 1 - 1 / float(self.load(np.exp(log_s), 0.0))

        return float(np.exp(_root(excess, -np.log(self.atoms.scales[0]) - 1e-15)))

    @property
    def twice_floor(self) -> float:
        """Risk `2 P_inf` that no parameters remove."""
        return float(np.sum(self.atoms.targets / (1 + self.atoms.scales * self.at_zero)))

    def location(self, s: ArrayLike) -> np.ndarray:
        """Return z(s), for s of any shape."""
        s = np.asarray(s)
        shares = self.atoms.counts * self.atoms.scales
        return -1 / s + (1 / (1 + s[..., None] * self.atoms.scales)) @ shares / self.dimension

    def load(self, radius: ArrayLike, turn: ArrayLike) -> np.ndarray:
        """Return the load at `s = -radius e^(-i phi)` where `turn = sin(phi/2)^2`."""
        y = np.asarray(radius)[..., None] * self.atoms.scales
        shape = y**2 / ((1 - y) ** 2 + 4 * y * np.asarray(turn)[..., None])
        return shape @ self.atoms.counts / self.dimension

    def curve(self, radii: np.ndarray) -> np.ndarray:
        """Return log s, of imaginary part in [0, pi], on the curve at radii of shape (n,).

        Where the load at -radius is below 1, a gap, that is log(-radius). Newton's method on
        1/load, which is concave in `turn`: from below it climbs to the root without overshooting.
        """
        y = radii[:, None] * self.atoms.scales
        top, rest = y**2 * self.atoms.counts / self.dimension, (1 - y) ** 2
        turn = np.clip(np.max((top - rest) / (4 * y), axis=1), 0.0, 1.0)  # one atom alone: a bound
        for _ in range(NEWTON_STEPS):
            below = rest + 4 * y * turn[:, None]
            load = np.sum(top / below, axis=1)
            with np.errstate(over="ignore"):  # what is divided by so much is nothing
                slope = np.sum(4 * y * top / below**2, axis=1)
            step = np.clip(turn + load * (load - 1) / slope, 0.0, 1.0) - turn
            turn = turn + step
            if (np.abs(step) <= 1e-13 * turn).all():
                break
        return np.log(radii) + 1j * (np.pi - 2 * np.arcsin(np.sqrt(turn)))

    def count_above(self, x: float) -> float:
        """Return how many of the d eigenvalues exceed x > 0: a whole number where x is in a gap.

        In closed form, `d + (d/pi) Im L` with
        `L = (1/d) sum_j log(1 + D_j s) - log s - x s` at `s(x + i0)` (spec section 5.1).
        """

        def excess(log_radius: float) -> float:
            s = np.exp(self.curve(np.exp([log_radius])))
            return float(np.log(self.location(s)[0].real / x))

        low, high = np.log(self.first_radius), np.log(self.last_radius)
        if excess(low) <= 0:
            return 0.0
        if excess(high) >= 0:
            return float(self.dimension)
        log_s = self.curve(np.exp([brentq(excess, low, high, xtol=1e-14, rtol=1e-14)]))[0]
        s = np.exp(log_s)
        logs = np.log(1 + s * self.atoms.scales) @ self.atoms.counts
        return float(self.dimension + (logs - self.dimension * (log_s + x * s)).imag / np.pi)


def _root(increasing: Callable[[float], float], high: float) -> float:
    """Return the root below `high`, where the function is positive, of one negative far below."""
    low = high - 1.0
    while increasing(low) >= 0:
        low -= 2 * (high - low)
    return float(brentq(increasing, low, high, xtol=1e-14, rtol=1e-14))
