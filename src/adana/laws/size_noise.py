"""The noise of seeds, a number for each size.

Between sizes it differs by factors of five (docs/evidence/ladder.md), between the optimizers of a
size by less. So it is pooled over the optimizers of a size: pooled over sizes too, a third of equal
optimizers would be told apart at the noisiest size, where a tenth is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adana.laws.curves import Curve
from adana.laws.multiplier import pooled_variance
from adana.laws.resampling import Noise

Floats = NDArray[np.float64]


class SizeNoise(NamedTuple):
    """The noise of one run's log loss at each size: sizes by the digits of their compute."""

    sizes: dict[str, Noise]
    rest: Noise
    """Of sizes that are not known: pooled over those that are."""

    @classmethod
    def of(cls, noise: Noise) -> SizeNoise:
        """Return one noise for all sizes."""
        return cls({}, noise)

    @property
    def usable(self) -> bool:
        """Whether there is a noise, and it is not that of copies."""
        return self.rest.freedom > 0 and self.rest.sigma > 0

    def draw(self, curves: Sequence[Curve], draws: int, rng: np.random.Generator) -> list[Floats]:
        """Return standard deviations of the points of each curve, shape (draws, points)."""
        found = {size: noise.draw(draws, rng) for size, noise in self.sizes.items()}
        rest = self.rest.draw(draws, rng)
        return [
            np.stack([found.get(_size(point.compute), rest) for point in curve.points], axis=1)
            for curve in curves
        ]


def noise_of_sizes(curves: Sequence[Curve]) -> SizeNoise:
    """Return the noise of every size, pooled over the curves that have it."""
    sizes = {}
    for size, own in _by_size(curves).items():
        variance, freedom = pooled_variance(own)
        if freedom and variance:
            sizes[size] = Noise(float(np.sqrt(variance)), freedom, "seeds of this size")
    return SizeNoise(sizes, seed_noise(curves))


def seed_noise(curves: Sequence[Curve]) -> Noise:
    """Return the noise of one run's log loss between seeds, pooled over all points."""
    variance, freedom = pooled_variance([g for own in _by_size(curves).values() for g in own])
    return Noise(float(np.sqrt(variance)), freedom, f"seeds ({freedom} degrees of freedom)")


def _by_size(curves: Sequence[Curve]) -> dict[str, list[list[float]]]:
    """Return the log losses of every point's seeds, by size; copies, which tell no more, once."""
    groups: dict[str, list[list[float]]] = {}
    for point in (point for curve in curves for point in curve.points):
        own, losses = groups.setdefault(_size(point.compute), []), np.log(point.losses).tolist()
        if losses not in own:
            own.append(losses)
    return groups


def _size(compute: float) -> str:
    return f"{compute:.3g}"
