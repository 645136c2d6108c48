"""Ladders drawn from known laws: what the fits are held against."""

import numpy as np

from adana.laws import Curve, LossLaw, Observation


def simulated(laws, computes, *, noise, seeds, rng):
    """Return one curve a law, with `seeds` runs a size and relative noise `noise` in each."""
    return [
        Curve(
            name,
            tuple(
                Observation(float(c), tuple(law(c) * np.exp(noise * rng.standard_normal(seeds))))
                for c in computes
            ),
        )
        for name, law in laws.items()
    ]


def true_multiplier(baseline: LossLaw, candidate: LossLaw, compute: float) -> float:
    """Return M by bisection on the baseline's law."""
    target, low, high = candidate(compute), compute / 1e3, compute * 1e3
    for _ in range(200):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if baseline(middle) > target else (low, middle)
    return float(np.sqrt(low * high) / compute)


class Coverage:
    """Counts how often intervals hold the truth, by name."""

    def __init__(self):
        self.hits = {}

    def count(self, name, low, high, truth):
        low = -np.inf if np.isnan(low) else low
        high = np.inf if np.isnan(high) else high
        self.hits.setdefault(name, []).append(bool(low <= truth <= high))

    def shares(self):
        return {name: float(np.mean(hits)) for name, hits in self.hits.items()}
