"""Is the difference between two optimizers larger than the luck of seeds? Rules before the data.

A `SeedRule` is written down before the runs: the noise, the significance and the difference that
would matter. `seed_test` then applies it, one-sided, to the final losses, whatever they are, and
`needed_seeds` says beforehand how many runs it will take. The shape is that of the community's
speed-run rules (spec/peers_harness section 1.2, track 3): ``(difference - margin) / (sigma
sqrt(1/n1 + 1/n2))`` against the quantile of a normal variable, or of Student's t where sigma is
measured from these very runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adana.checks import check_range
from adana.laws.multiplier import pooled_variance
from adana.laws.quantiles import normal_point, normal_tail, student_point, student_tail


@dataclass(frozen=True)
class SeedRule:
    """What counts as better, decided before the runs."""

    significance: float = 0.01
    """One-sided probability of calling equal optimizers different."""
    margin: float = 0.0
    """Loss (nats a token) by which the candidate must win at least."""
    sigma: float | None = None
    """Known standard deviation of a final loss between seeds; None: pooled from the runs."""

    def __post_init__(self) -> None:
        _check_significance(self.significance)
        if self.sigma is not None and not self.sigma > 0:
            raise ValueError(f"a known sigma is positive, got {self.sigma}; None pools it")


def _check_significance(value: float) -> None:
    if not 0 < value < 0.5:
        raise ValueError(f"significance lies between 0 and 0.5, got {value}")


@dataclass(frozen=True)
class SeedTest:
    """The verdict on one pair."""

    difference: float
    """Mean loss of the baseline minus the candidate's: positive where the candidate is better."""
    error: float
    """Standard error of the difference."""
    statistic: float
    p: float
    """One-sided probability of a difference this large beyond the margin between equals."""
    passed: bool
    sigma: float
    freedom: int | None
    """Degrees of freedom behind a pooled sigma; None where it was known."""
    statement: str


def seed_test(
    baseline: Sequence[float],
    candidate: Sequence[float],
    rule: SeedRule | None = None,
    *,
    others: Sequence[Sequence[float]] = (),
) -> SeedTest:
    """Test whether `candidate` (final losses, one a seed) beats `baseline` by the rule.

    `others` are further groups of runs that differ in their seed only: they take part in pooling
    sigma. Raises `ValueError` where sigma is not known and no group has two seeds, and for losses
    that are missing or not finite: a run that diverged is no number to compare.
    """
    rule = rule or SeedRule()
    for name, losses in (("baseline", baseline), ("candidate", candidate)):
        if not len(losses) or not np.isfinite(losses).all():
            raise ValueError(
                f"{name} must be finite final losses, one or more, got {list(losses)}; a run that "
                "diverged has lost, and no test is needed"
            )
    freedom: int | None = None
    if rule.sigma is None:
        variance, freedom = pooled_variance([baseline, candidate, *others])
        if not freedom:
            raise ValueError(
                "no group has two seeds, so the noise is unknown: run a second seed of one "
                "optimizer, or give SeedRule the sigma that is known from elsewhere"
            )
        sigma = math.sqrt(variance)
    else:
        sigma = rule.sigma
    difference = float(np.mean(baseline) - np.mean(candidate))
    error = sigma * math.sqrt(1 / len(baseline) + 1 / len(candidate))
    beyond = difference - rule.margin
    if error:
        statistic = beyond / error
    else:  # no noise at all: equal is not better
        statistic = math.copysign(math.inf, beyond) if beyond else 0.0
    tail = normal_tail(statistic) if freedom is None else student_tail(statistic, freedom)
    passed = bool(tail < rule.significance)
    margin = f" beyond the margin of {rule.margin:g}" if rule.margin else ""
    source = "known" if freedom is None else f"pooled, {freedom} degrees of freedom"
    statement = (
        f"{'better' if passed else 'not shown to be better'}{margin}: difference {difference:.4g} "
        f"+- {error:.2g}, one-sided p = {tail:.2g} against {rule.significance:g} "
        f"(sigma {sigma:.2g}, {source}; {len(baseline)} and {len(candidate)} seeds)"
    )
    return SeedTest(difference, error, statistic, float(tail), passed, sigma, freedom, statement)


def needed_seeds(
    difference: float,
    sigma: float,
    *,
    significance: float = 0.01,
    power: float = 0.9,
    known: bool = False,
) -> int:
    """Return the seeds of each side that show a true `difference` with probability `power`.

    With `known`, `sigma` is known beforehand, as with `SeedRule.sigma`; else it is a guess, and the
    test of the two groups has to measure it too, which takes more seeds.

    Raises `ValueError` for a difference or sigma that is not positive, a significance outside of
    (0, 0.5) and a power outside of (0, 1).

    >>> needed_seeds(0.004, 0.0013, significance=0.001, known=True)
    5
    >>> needed_seeds(0.004, 0.0013, significance=0.001)
    7
    """
    if not (difference > 0 and sigma > 0):
        raise ValueError(
            f"difference and sigma are positive, got {difference} and {sigma}: no number of seeds "
            "shows a difference of nothing"
        )
    _check_significance(significance)
    check_range("power", power, low=0.0, high=1.0, low_open=True, high_open=True)
    both = normal_point(power) - normal_point(significance)
    seeds = max(1, math.ceil(2 * (both * sigma / difference) ** 2))
    while not known and _power(seeds, difference / sigma, significance) < power:
        seeds += 1
    return seeds


def _power(seeds: int, effect: float, significance: float) -> float:
    """Return the chance that a t test of two groups shows a difference of `effect` sigmas."""
    freedom = 2 * (seeds - 1)
    if not freedom:
        return 0.0
    limit = -student_point(significance, freedom)
    return student_tail(limit, freedom, shift=effect * math.sqrt(seeds / 2))
