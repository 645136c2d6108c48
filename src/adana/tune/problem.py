"""What is tuned, and the rules of the search, fixed before it begins."""

from __future__ import annotations

from dataclasses import dataclass, field

from adana.tune.descent import MAX_PASSES
from adana.tune.noise import noise_floor
from adana.tune.scale import Scale
from adana.tune.space import Space
from adana.tune.trial import Config, Objective


@dataclass(frozen=True)
class Rules:
    """How a search decides, fixed before it begins."""

    seeds: int = 1
    """Seeds of every configuration; its loss is their mean."""
    noise_seeds: int = 0
    """Seeds that measure the noise, of the configuration that a scale begins with and of the one
    that it ends with; fewer than 2: not measured."""
    delta1: float | None = None
    """What a value must gain to be taken. Default: by the noise (`noise.py`)."""
    delta2: float | None = None
    """Within what values are near-optimal. Default likewise."""
    joint: tuple[tuple[str, str], ...] = ()
    """Pairs of hyperparameters to check together around the optimum."""
    max_passes: int = MAX_PASSES

    def __post_init__(self) -> None:
        for name in ("seeds", "max_passes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.noise_seeds < 0:
            raise ValueError(f"noise_seeds must be at least 0, got {self.noise_seeds}")
        noise_floor((), delta1=self.delta1, delta2=self.delta2)

    @property
    def judging_seeds(self) -> range:
        """Seeds on which all small gains together are judged: those that measure noise and chose
        nothing, if they are as many as those of the search; else the search's own."""
        own = range(self.seeds)
        beyond = range(self.seeds, self.noise_seeds)
        return beyond if len(beyond) >= len(own) else own


@dataclass(frozen=True)
class Problem:
    """What is tuned at one scale."""

    objective: Objective
    space: Space
    scale: Scale = field(default_factory=Scale)
    fixed: Config = field(default_factory=dict)
    """What else the configurations hold, the same in all."""
