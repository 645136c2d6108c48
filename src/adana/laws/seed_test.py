"""Is one optimizer better than another? A test over seeds whose rule is written before the data.

The statistics of modded-nanogpt's track 3 (spec/peers_harness section 1.2), made general: the
spread between seeds is pooled over all groups at hand, the difference of two means is compared with
its standard error, and one side only is asked, since the claim has a direction. A `Rule` is fixed
first and travels with its verdicts. Where the spread comes from few seeds, its own uncertainty
counts: Student's t takes the normal's place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from scipy.stats import nct, norm, t

from adana.laws.multiplier import pooled_variance

Answer = Literal["better", "worse", "not separable"]

POWER = 0.9
"""Chance of seeing a difference that is there, behind a number of needed seeds."""

MOST_SEEDS = 100_000
"""More than this is answered by an error: the difference is out of reach."""


@dataclass(frozen=True)
class Rule:
    """What is decided before the losses are seen. Defaults are those of track 3.

    A candidate is better than its baseline if its mean loss is lower by more than `margin` and a
    one-sided test gives ``p < alpha``. `sigma` is a spread between seeds (nats) that is known
    beforehand, 0.0013 in track 3; None means: pooled from the seeds at hand. `loss_per_step` (nats,
    positive; 4.5e-5 in track 3) is the price of a step where runs differ in length by a few; 0
    means no correction.
    """

    alpha: float = 0.001
    margin: float = 0.0
    sigma: float | None = None
    least_seeds: int = 2
    loss_per_step: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is the chance of a false claim, in (0, 0.5), got {self.alpha}")
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin is a difference in nats, at least 0, got {self.margin}")
        if self.sigma is not None and not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma is a spread in nats, positive, or None, got {self.sigma}")
        if self.least_seeds < 1:
            raise ValueError(f"least_seeds is at least 1, got {self.least_seeds}")
        if not 0 <= self.loss_per_step < math.inf:
            raise ValueError(f"loss_per_step is in nats, at least 0, got {self.loss_per_step}")

    def __str__(self) -> str:
        """Return the rule as a sentence that can be published before the data."""
        spread = "pooled over groups" if self.sigma is None else f"{self.sigma:g}, known before"
        text = (
            f"better: mean loss lower by more than {self.margin:g} nats with one-sided "
            f"p < {self.alpha:g}, spread between seeds {spread}, at least {self.least_seeds} seeds"
        )
        if self.loss_per_step:
            text += f", each further step counted as {self.loss_per_step:g} nats"
        return text


@dataclass(frozen=True)
class Verdict:
    """What the rule says of one pair."""

    candidate: str
    baseline: str
    difference: float
    """Mean loss of the candidate minus the baseline's, after the correction for steps, in nats."""
    error: float
    """Standard error of the difference; NaN where nothing tells the spread."""
    statistic: float
    """The side with the lower loss's lead over the margin, in standard errors (z, or t)."""
    p: float
    """One-sided, for the side with the lower loss. NaN without an error."""
    freedom: float
    """Degrees of freedom of the spread; infinite for one known beforehand (a z test)."""
    answer: Answer
    reason: str


def compare_seeds(
    groups: Mapping[str, Sequence[float]],
    candidate: str,
    baseline: str,
    rule: Rule | None = None,
    steps: Mapping[str, float] | None = None,
) -> Verdict:
    """Test `candidate` against `baseline` by `rule`; `groups` holds final losses, one a seed.

    The spread is pooled over all of `groups`, the two or more: leave groups out whose seeds spread
    otherwise. `steps` gives the length of each group's runs and is needed by a rule that corrects
    for it. Seeds are taken to be independent between groups; pairing them is not assumed.

    >>> losses = {"adamw": [3.281, 3.279, 3.280, 3.281], "adana": [3.270, 3.272, 3.271, 3.271]}
    >>> compare_seeds(losses, "adana", "adamw").answer
    'better'
    """
    rule = rule or Rule()
    _check(groups, (candidate, baseline))
    pair = [list(groups[candidate]), list(groups[baseline])]
    difference = _mean(pair[0]) - _mean(pair[1])
    difference += _correction(candidate, baseline, rule, steps)
    sigma, freedom = _spread(groups, rule)
    error = sigma * math.sqrt(sum(1 / len(group) for group in pair)) or math.nan
    statistic = (abs(difference) - rule.margin) / error
    p = float(norm.sf(statistic) if math.isinf(freedom) else t.sf(statistic, freedom))
    said = _reason_against(rule, p, min(map(len, pair)))
    side: Answer = "better" if difference < 0 else "worse"
    return Verdict(
        candidate=candidate,
        baseline=baseline,
        difference=difference,
        error=error,
        statistic=statistic,
        p=p,
        freedom=freedom,
        answer="not separable" if said else side,
        reason=said or f"p = {p:.2g} is below {rule.alpha:g}",
    )


def compare_all_pairs(
    groups: Mapping[str, Sequence[float]],
    rule: Rule | None = None,
    steps: Mapping[str, float] | None = None,
) -> tuple[Verdict, ...]:
    """Test every pair of `groups`, with Holm's correction for asking many questions at once.

    The pair's later group is the candidate. Ordered by p; a pair is separable only if all pairs
    with smaller p are, each at ``alpha`` over the number of questions left, doubled because either
    side may win.
    """
    rule = rule or Rule()
    found = [compare_seeds(groups, b, a, rule, steps) for a, b in combinations(groups, 2)]
    found.sort(key=lambda verdict: math.inf if math.isnan(verdict.p) else verdict.p)
    kept, holds = [], True
    for i, verdict in enumerate(found):
        threshold = rule.alpha / (2 * (len(found) - i))
        holds = holds and verdict.p < threshold
        if verdict.answer == "not separable" or holds:
            kept.append(verdict)
            continue
        said = f"p = {verdict.p:.2g} is not below {threshold:.2g} (Holm, {len(found)} pairs)"
        kept.append(replace(verdict, answer="not separable", reason=said))
    return tuple(kept)


def needed_seeds(
    difference: float,
    sigma: float,
    *,
    rule: Rule | None = None,
    power: float = POWER,
    known: bool = False,
) -> int:
    """Return the seeds a side that show a true `difference` (nats) with a chance of `power`.

    `sigma` is the spread between seeds in nats. With `known` it is used as known beforehand (a z
    test); else as a guess, and the t test of two groups alone pays for measuring it.

    >>> needed_seeds(0.01, 0.004)
    9
    """
    rule = rule or Rule()
    lead = difference - rule.margin
    if not lead > 0 or not sigma > 0 or not 0 < power < 1:
        raise ValueError(
            f"a difference above the rule's margin, a positive sigma and a power in (0, 1) are "
            f"needed, got difference={difference}, margin={rule.margin}, sigma={sigma}, "
            f"power={power}"
        )
    low, high = 0, max(2, rule.least_seeds)
    while _power(high, lead / sigma, rule, known) < power:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            raise ValueError(
                f"more than {MOST_SEEDS} seeds a side would be needed to see {lead:g} nats above a "
                f"spread of {sigma:g}; ask for a larger difference"
            )
    while high - low > 1:
        middle = (low + high) // 2
        enough = middle >= 1 and _power(middle, lead / sigma, rule, known) >= power
        low, high = (low, middle) if enough else (middle, high)
    return max(high, rule.least_seeds)


def _power(seeds: int, effect: float, rule: Rule, known: bool) -> float:
    shift = effect * math.sqrt(seeds / 2)
    if known:
        return float(norm.sf(norm.isf(rule.alpha) - shift))
    freedom = 2 * (seeds - 1)
    return float(nct.sf(t.isf(rule.alpha, freedom), freedom, shift)) if freedom else 0.0


def _spread(groups: Mapping[str, Sequence[float]], rule: Rule) -> tuple[float, float]:
    if rule.sigma is not None:
        return rule.sigma, math.inf
    variance, freedom = pooled_variance(list(groups.values()))
    return math.sqrt(variance), float(freedom)


def _correction(
    candidate: str, baseline: str, rule: Rule, steps: Mapping[str, float] | None
) -> float:
    """Return the price of the candidate's further steps: positive if it ran longer."""
    if not rule.loss_per_step:
        return 0.0
    if steps is None or not {candidate, baseline} <= set(steps):
        raise ValueError(
            f"the rule corrects for steps; pass steps with {candidate!r} and {baseline!r} in it"
        )
    return rule.loss_per_step * (steps[candidate] - steps[baseline])


def _reason_against(rule: Rule, p: float, fewest: int) -> str:
    """Return why a claim would break the rule; empty where it would not."""
    if math.isnan(p):
        return "nothing tells the spread between seeds; run two seeds somewhere, or give sigma"
    if fewest < rule.least_seeds:
        return f"{fewest} seeds, and the rule wants {rule.least_seeds} of both"
    return "" if p < rule.alpha else f"p = {p:.2g} is not below {rule.alpha:g}"


def _check(groups: Mapping[str, Sequence[float]], names: tuple[str, str]) -> None:
    for name in names:
        if name not in groups:
            raise ValueError(f"there is no group {name!r}, only {', '.join(groups)}")
    for name, losses in groups.items():
        if not len(losses) or not all(math.isfinite(loss) for loss in losses):
            raise ValueError(
                f"{name!r} needs at least one loss, all finite, got {list(losses)}; a diverged "
                "seed is no loss: report it beside the test"
            )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
