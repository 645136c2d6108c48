"""How much compute the baseline needs to match another optimizer, and how sure that is.

A smaller loss is hard to value: is 0.03 nats a lot? The compute multiplier puts it in the unit
people pay in. Train the baseline at several horizons; its final losses trace a curve ``L_base(C)``.
A candidate that reaches loss ``L`` with compute ``C`` has the multiplier ::

    M = C_base / C    where    L_base(C_base) = L

so ``M = 1.4`` means the baseline needs 1.4 times the compute for the same loss. Between horizons
the curve is a straight line in (log C, log L). Outside them it is unknown, and this module says
so instead of extrapolating: a law fitted to the runs is another estimator, with its own name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adana.laws.lines import invert_lines
from adana.laws.quantiles import fisher_tail

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Coverage of the interval unless asked otherwise."""

COPIES = (
    "the seeds of every group ended at one loss, as copies of one run do; leave copies out, or "
    "give the losses with more digits"
)
"""Why there is no interval where the noise would be zero."""
UNEQUAL = 0.05
"""Significance of the test that says that optimizers differ in their noise."""

REPLICATES = 10_000
"""Bootstrap replicates behind an interval: its ends move by about 1 % of its width."""


@dataclass(frozen=True)
class Observation:
    """The final losses (nats a token), one a seed, of runs that used the same compute (PFH)."""

    compute: float
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (self.compute, *self.losses)
        if not self.losses or not all(math.isfinite(x) and x > 0 for x in numbers):
            raise ValueError(
                f"an observation needs a compute and at least one loss, all positive and finite, "
                f"got compute={self.compute} and losses={self.losses}; leave diverged runs out"
            )

    @property
    def mean(self) -> float:
        """The mean loss over seeds."""
        return float(np.mean(self.losses))


@dataclass(frozen=True)
class Multiplier:
    """A compute multiplier, or the reason why the runs cannot tell it.

    `value` is None where the candidate's loss lies outside what the baseline reached; then `above`
    or `below` is the one-sided bound that the mean losses do give (``M > above``).
    `low` and `high` are the interval for seed noise at `level`; None means open at that end, or no
    interval at all, and `note` says which and why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    level: float = LEVEL
    freedom: int = 0
    """Degrees of freedom of the seed noise behind the interval; 0 means that there is none."""
    reason: str = ""
    note: str = ""


def mean_and_standard_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error; the error is None below two values.

    Raises `ValueError` for no values.
    """
    if not len(values):
        raise ValueError("the mean of no values is undefined; pass at least one")
    if len(values) < 2:
        return float(values[0]), None
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def pooled_variance(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the variance within groups, pooled, and its degrees of freedom ``sum(n_i - 1)``.

    Groups of one say nothing about noise; with only such groups the answer is ``(0.0, 0)``.
    """
    freedom = sum(len(group) - 1 for group in groups if len(group) > 1)
    squares = sum(len(group) * float(np.var(group)) for group in groups if len(group) > 1)
    return (squares / freedom if freedom else 0.0), freedom


def steps_to_reach(steps: Sequence[float], losses: Sequence[float], target: float) -> float | None:
    """Return where a validation curve first comes down to `target`; None if it never does.

    Linear between evaluations. A curve whose first point is already there returns that point,
    which is then an upper bound. Works in any unit of `steps`, tokens for example. The curve of a
    run with a decaying learning rate is above what a shorter run would end at, so this is a
    diagnostic of one training, not a measure of compute saved.
    """
    if len(steps) != len(losses):
        raise ValueError(f"one loss a step is needed, got {len(steps)} steps, {len(losses)} losses")
    before: tuple[float, float] | None = None
    for step, loss in zip(steps, losses, strict=True):
        if loss <= target:
            if before is None:
                return float(step)
            fraction = (before[1] - target) / (before[1] - loss)
            return float(before[0] + fraction * (step - before[0]))
        if math.isfinite(loss):
            before = (step, loss)
    return None


def compute_multiplier(
    candidate: Observation,
    baseline: Sequence[Observation],
    *,
    level: float = LEVEL,
    replicates: int = REPLICATES,
    rng: np.random.Generator | None = None,
) -> Multiplier:
    """Return the compute multiplier of `candidate` against the baseline's horizons.

    `baseline` holds one observation a horizon, in any order. The interval is a parametric
    bootstrap of seed noise: see `_replicate_means`. `rng` defaults to a fixed seed, so that the
    same runs always print the same interval. Raises `ValueError` for a level outside of (0, 1), and
    a baseline without observations or with two of one compute.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage of the interval, between 0 and 1, got {level}")
    baseline = sorted(baseline, key=lambda observation: observation.compute)
    computes = np.array([observation.compute for observation in baseline])
    if not baseline or np.any(np.diff(computes) == 0):
        raise ValueError(
            f"the baseline needs one observation for each compute, got {computes.tolist()}; "
            "put the losses of all seeds of one horizon into one Observation"
        )
    means = np.array([observation.mean for observation in baseline])
    if np.any(np.diff(means) >= 0):
        return Multiplier(None, level=level, reason=_not_monotone(computes, means))
    ends = _invert(np.array([candidate.mean]), means[None, :], computes) / candidate.compute
    low, high, freedom, note = _interval(
        candidate, baseline, level, replicates, rng or np.random.default_rng(0)
    )
    lower, upper = float(ends[0, 0]), float(ends[0, 1])
    if lower == upper:
        # The bend moves the draws off the line's own value.
        low = None if low is None else min(low, lower)
        high = None if high is None else max(high, upper)
        return Multiplier(lower, low, high, level=level, freedom=freedom, note=note)
    above, below = _finite(lower), _finite(upper)
    reason = _outside(candidate.mean, means, above, below)
    return Multiplier(None, low, high, above, below, level, freedom, reason, note)


def _invert(losses: Floats, baselines: Floats, computes: Floats, *, bend: bool = False) -> Floats:
    """Return, for each row, the range ``[low, high]`` of compute where the baseline has the loss.

    Both ends agree where the loss lies on the row's curve. Beyond the longest horizon the range is
    ``[C_max, inf]``, before the shortest ``[0, C_min]``, and on a curve that does not fall with
    compute it is ``[0, inf]``: nothing is known. With `bend` the lines are lowered between the
    horizons by the bend that their neighbours show.
    """
    tiny = np.finfo(float).tiny
    y, target = (np.log(np.maximum(values, tiny)) for values in (baselines, losses))
    x = np.log(computes)
    ends = invert_lines(x, y, target[:, None], extrapolate=False, bend=bend)[:, :, 0]
    found: Floats = np.exp(ends)
    for end in (0, -1):  # a bound is a compute that was run, to the bit
        found[ends == x[end]] = computes[end]
    return found


def _replicate_means(
    groups: Sequence[Observation],
    variance: float,
    freedom: int,
    replicates: int,
    rng: np.random.Generator,
) -> Floats:
    """Draw the groups' true mean losses as the seeds at hand leave them uncertain.

    The noise of a seed is taken to be the same in all groups, which are of one size: where the
    seeds show that it is not, the interval's note says so (`_unlike`). A replicate draws one
    variance for all of them, ``s^2 df / chi2(df)``, since a few seeds know the noise itself only
    roughly, and then one normal deviation a group, over the square root of its number of seeds.
    Groups are taken to be independent: where good seeds are good for all optimizers, the noise of
    ``M`` is smaller than this.
    """
    sigma = np.sqrt(variance * freedom / rng.chisquare(freedom, size=(replicates, 1)))
    means = np.array([group.mean for group in groups])
    counts = np.array([len(group.losses) for group in groups])
    return means + sigma / np.sqrt(counts) * rng.standard_normal((replicates, len(groups)))


def _interval(
    candidate: Observation,
    baseline: Sequence[Observation],
    level: float,
    replicates: int,
    rng: np.random.Generator,
) -> tuple[float | None, float | None, int, str]:
    """Return the interval's ends, None where open, the noise's degrees of freedom, and a note.

    A replicate outside the measured range counts with the range that it does imply, so it pushes an
    end open instead of being dropped.
    """
    groups = [candidate, *baseline]
    variance, freedom = pooled_variance([group.losses for group in groups])
    if not variance:
        why = COPIES if freedom else "every group has one seed; run at least two seeds somewhere"
        return None, None, 0, f"no interval: {why}"
    means = _replicate_means(groups, variance, freedom, replicates, rng)
    computes = np.array([observation.compute for observation in baseline])
    ends = _invert(means[:, 0], means[:, 1:], computes, bend=True) / candidate.compute
    tail = (1 - level) / 2
    low = float(np.quantile(ends[:, 0], tail, method="lower"))
    high = float(np.quantile(ends[:, 1], 1 - tail, method="higher"))
    note = (
        f"{100 * level:g} % interval for seed noise, pooled over {len(groups)} groups of runs "
        f"({freedom} degree{'s' if freedom > 1 else ''} of freedom)"
    )
    note += _unlike(candidate, baseline) + _lost(ends)
    if len(baseline) == 2:
        note += "; two horizons show no bend of the baseline's curve, and none is allowed for"
    return _finite(low), _finite(high), freedom, note


def _unlike(candidate: Observation, baseline: Sequence[Observation]) -> str:
    """Say where the seeds show that one noise for both is too little for the noisier."""
    own, freedom = pooled_variance([candidate.losses])
    theirs, known = pooled_variance([group.losses for group in baseline])
    if not (own and theirs):
        return ""
    ratio = own / theirs
    larger = (ratio, freedom, known) if ratio > 1 else (1 / ratio, known, freedom)
    if fisher_tail(*larger) > UNEQUAL / 2:
        return ""
    much = math.sqrt(max(ratio, 1 / ratio))
    which = ("candidate's", "baseline's") if ratio > 1 else ("baseline's", "candidate's")
    return (
        f"; the {which[0]} seeds scatter {much:.2g} times as much as the {which[1]}, so that this "
        "is too narrow where the former matter"
    )


def _lost(ends: Floats) -> str:
    """Say which share of the replicates the measured range could not place."""
    unknown = (ends[:, 0] == 0) & np.isinf(ends[:, 1])
    shares = {
        "lie beyond the longest baseline": np.isinf(ends[:, 1]) & ~unknown,
        "lie before the shortest baseline": (ends[:, 0] == 0) & ~unknown,
        "have a baseline that does not fall with compute": unknown,
    }
    parts = [f"{_percent(np.mean(hit))} {what}" for what, hit in shares.items() if np.any(hit)]
    return f"; of the replicates, {', '.join(parts)}" if parts else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"


def _finite(value: float) -> float | None:
    """Return None for 0 and infinity, the two ways of saying that a range is open."""
    return value if 0 < value < math.inf else None


def _outside(loss: float, means: Floats, above: float | None, below: float | None) -> str:
    if above is not None:
        return (
            f"cannot say: the loss {loss:.4g} is below the {means[-1]:.4g} of the longest "
            f"baseline, so by the mean losses M > {above:.3g}; run the baseline at a longer horizon"
        )
    return (
        f"cannot say: the loss {loss:.4g} is above the {means[0]:.4g} of the shortest "
        f"baseline, so by the mean losses M < {below:.3g}; run the baseline at a shorter horizon"
    )


def _not_monotone(computes: Floats, means: Floats) -> str:
    worst = int(np.argmax(np.diff(means)))
    return (
        f"cannot say: the baseline's mean loss does not fall from compute {computes[worst]:.3g} "
        f"({means[worst]:.4g}) to {computes[worst + 1]:.3g} ({means[worst + 1]:.4g}); "
        "run more seeds, or tune the baseline at each horizon"
    )
