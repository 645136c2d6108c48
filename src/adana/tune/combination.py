"""All values at once that gained something, each too little to be taken.

A threshold that keeps noise out keeps small gains out too, and several of them may add up to more
than the noise (docs/evidence/tuned.md has a search in which four did). So where a search has come
to rest, one more configuration holds them all. They look good on the seeds that chose them, so it
is judged on others where the noise was measured on at least as many.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.tune.joint import JointCheck
from adana.tune.sweep import Sweep
from adana.tune.trial import Config


@dataclass(frozen=True)
class Combination:
    """What came of several hyperparameters at their best values together."""

    before: Mapping[str, Any]
    """Their values where the search had come to rest."""
    values: Mapping[str, Any]
    """The values tried together."""
    seeds: tuple[int, ...]
    """The seeds that it was judged on."""
    gain: float
    """How much lower the loss is than before, by its mean over `seeds`. -infinity: it diverged;
    infinity: only what was before did."""
    delta1: float
    """What it had to gain, by the noise of a mean over so many seeds."""
    verdict: str
    """In words."""

    @property
    def moved(self) -> bool:
        """Whether the search goes on from it."""
        return self.gain > self.delta1


def candidates(sweeps: Sequence[Sweep], joints: Sequence[JointCheck]) -> dict[str, Any]:
    """Return the value of every hyperparameter that gained by another one, however little.

    Of a pair that was checked together and of its two alone, whichever gained most counts.

    Args:
        sweeps: of every hyperparameter around the configuration where the search came to rest.
        joints: the joint checks there.
    """
    gains: list[tuple[float, dict[str, Any]]] = [
        (sweep.gain, {sweep.name: sweep.best}) for sweep in sweeps if sweep.gain > 0
    ]
    gains += [(check.gain, check.changes) for check in joints if check.gain > 0]
    gains.sort(key=lambda pair: -pair[0])
    chosen: dict[str, Any] = {}
    for _, values in gains:
        if not values.keys() & chosen.keys():
            chosen |= values
    order = [sweep.name for sweep in sweeps]
    return {name: chosen[name] for name in order if name in chosen}


def judge(
    rest: Config,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    losses: tuple[Sequence[float], Sequence[float]],
    delta1: float,
    *,
    others: bool,
) -> Combination:
    """Compare the losses of both configurations, (before, together), on the same seeds.

    `others` says that these did not choose the values.
    """
    before, together = (statistics.fmean(several) for several in losses)
    gain = before - together if math.isfinite(together) else -math.inf
    return Combination(
        before={name: rest[name] for name in values},
        values=dict(values),
        seeds=tuple(seeds),
        gain=gain,
        delta1=delta1,
        verdict=_verdict(rest, values, gain, delta1, others),
    )


def _verdict(
    rest: Config, values: Mapping[str, Any], gain: float, delta1: float, others: bool
) -> str:
    several = ", ".join(f"{name} {rest[name]} -> {value}" for name, value in values.items())
    tried = f"all that gained a little tried together ({several})"
    on = "seeds that did not choose them" if others else "the seeds of the search"
    if gain == -math.inf:
        return f"{tried}: diverged"
    if gain == math.inf:
        return f"{tried}: train on {on}, where the best diverged; taken"
    if gain > delta1:
        return f"{tried}: gains {gain:.4g} on {on}, more than {delta1:.2g}; taken"
    return (
        f"{tried}: {'gains' if gain > 0 else 'loses'} {abs(gain):.4g} on {on}; "
        f"{delta1:.2g} is what counts"
    )
