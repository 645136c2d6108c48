"""What a search cost: comparisons of tuned optimizers are fair only at equal tuning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from adana.tune.problem import Rules
from adana.tune.space import Space
from adana.tune.trial import Trial


@dataclass(frozen=True)
class Budget:
    """What was spent on a search, over all its sessions."""

    runs: int = 0
    """Different trainings that the search needed."""
    recalled: int = 0
    """Those of them that were there already when this session began."""
    diverged: int = 0
    tokens: int = 0
    """Over all of them; 0 if the objective does not tell."""
    device_seconds: float = 0.0

    @property
    def device_hours(self) -> float:
        """Hours of one device."""
        return self.device_seconds / 3600

    def __add__(self, other: Budget) -> Budget:
        return Budget(
            self.runs + other.runs,
            self.recalled + other.recalled,
            self.diverged + other.diverged,
            self.tokens + other.tokens,
            self.device_seconds + other.device_seconds,
        )

    def text(self) -> str:
        """Say it in one line."""
        again = f" ({self.recalled} of them known before)" if self.recalled else ""
        diverged = f", {self.diverged} diverged" if self.diverged else ""
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.runs} runs{again}{diverged}{tokens}, {self.device_hours:.3g} device-hours"


def budget_of(trials: Iterable[Trial], fresh: int = 0) -> Budget:
    """Add up trials, of which `fresh` were run in this session."""
    several = list(trials)
    return Budget(
        runs=len(several),
        recalled=len(several) - fresh,
        diverged=sum(math.isinf(trial.loss) for trial in several),
        tokens=sum(trial.tokens for trial in several),
        device_seconds=math.fsum(trial.seconds for trial in several),
    )


def widest_batch(space: Space, rules: Rules) -> int:
    """Return how many trainings of a search at most wait for a place at the same time."""
    sweep = max(len(p.values(p.baseline)) - 1 for p in space) * rules.seeds
    corners = 4 * rules.seeds if rules.joint else 0
    return max(1, sweep, corners, rules.noise_seeds)


def planned_runs(space: Space, rules: Rules) -> tuple[int, int]:
    """Return how many runs a scale needs: of a first pass with all that is around it, and of every
    further pass at most.

    The first pass is the baseline, every other value of every grid, the seeds that measure noise
    there and where the search ends, and four corners for each joint check. Longer grids, a pair
    that moves, and all that gained a little tried together come on top.
    """
    a_pass = runs_of_a_pass(space, rules)
    around = 2 * noise_runs(rules) + joint_runs(rules)
    return rules.seeds + a_pass + around, a_pass


def runs_of_a_pass(space: Space, rules: Rules) -> int:
    """Return the runs of all values of all grids but the baseline's."""
    return sum(len(p.values(p.baseline)) - 1 for p in space) * rules.seeds


def noise_runs(rules: Rules) -> int:
    """Return the runs that measure noise at a configuration which the search has trained."""
    return max(0, rules.noise_seeds - rules.seeds) if rules.noise_seeds > 1 else 0


def joint_runs(rules: Rules) -> int:
    """Return the runs of the corners of every joint check."""
    return 4 * len(rules.joint) * rules.seeds
