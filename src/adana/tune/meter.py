"""How far a whole search is, and when it may end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adana.tune.budget import planned_runs
from adana.tune.descent import Move
from adana.tune.problem import Problem, Rules
from adana.tune.scale import Scale
from adana.tune.space import Parameter
from adana.tune.trial import Trial


@dataclass(frozen=True)
class Progress:
    """One sign of life of a search."""

    scale: str
    stage: str
    """What is going on, in words."""
    runs: int
    """Runs whose result is known."""
    expected: int
    """Runs in all, as far as that can be known: longer grids and further passes add to it."""
    seconds: float
    """Since this session began."""
    eta: float | None
    """Seconds left, at this session's speed, larger scales taken for slower; None: unknown."""
    trial: str = ""
    """The run that has just become known, if one has."""
    loss: float | None = None
    """Its loss."""
    move: Move | None = None
    """The sweep that has just ended, if one has."""


OnProgress = Callable[[Progress], None]


class Meter:
    """Counts runs and guesses how many are left.

    Expected of every scale that has not begun: a first pass, and a second that confirms it. Of the
    one at work: what is left of its pass, and one more pass once something has moved.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        rules: Rules,
        on_progress: OnProgress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._clock, self._begun = on_progress, clock, clock()
        self._seeds, self._corners = rules.seeds, 4 * len(rules.joint) * rules.seeds
        self._later: dict[Scale, int] = {}
        self._spaces = {}
        for problem in problems:
            first, further = planned_runs(problem.space, rules)
            self._later[problem.scale] = first + further
            self._spaces[problem.scale] = problem.space
        self.scale: Scale = problems[0].scale
        self._stage = ""
        self._runs = 0
        self._left = 0
        self._moved = False
        self._fresh_work = 0.0

    def begin_scale(self, scale: Scale) -> None:
        """Another scale begins."""
        self.scale, self._moved = scale, False
        self._left = self._later.pop(scale)
        self._say("begins")

    def begin_noise(self) -> None:
        """The noise is measured."""
        self._say("measuring the noise")

    def begin_joint(self, first: str, second: str) -> None:
        """Two hyperparameters are checked together."""
        self._left = self._corners
        self._say(f"{first} and {second} together")

    def begin_filling(self) -> None:
        """Values of one scale are tried at the others."""
        self._left = 0
        self._say("trying the best values of each scale at the others")

    def end(self) -> None:
        """All is known."""
        self._left = 0
        self._say("done")

    def on_sweep(self, number: int, parameter: Parameter) -> None:
        """A sweep begins."""
        space = self._spaces[self.scale]
        place = [own.name for own in space].index(parameter.name)
        if place == 0:
            self._moved = number == 1  # a first pass nearly always moves something
        rest = sum(len(own.values(own.baseline)) - 1 for own in space[place:])
        again = sum(len(own.values(own.baseline)) - 1 for own in space) if self._moved else 0
        self._left = (rest + again) * self._seeds + self._corners
        self._say(f"pass {number}: {parameter.name}")

    def on_move(self, move: Move) -> None:
        """A sweep has ended."""
        self._moved = self._moved or move.moved
        self._say(self._stage, move=move)

    def on_trial(self, name: str, trial: Trial, fresh: bool) -> None:
        """A run has become known, just now if it is fresh."""
        if trial.error:
            return
        self._runs += 1
        self._left = max(0, self._left - 1)
        if fresh:
            self._fresh_work += self.scale.work
        self._say(self._stage, name, trial.loss)

    def _say(
        self, stage: str, trial: str = "", loss: float | None = None, move: Move | None = None
    ) -> None:
        self._stage = stage
        seconds = self._clock() - self._begun
        expected = self._runs + self._left + sum(self._later.values())
        self._tell(
            Progress(
                scale=self.scale.name,
                stage=stage,
                runs=self._runs,
                expected=expected,
                seconds=seconds,
                eta=self._eta(seconds),
                trial=trial,
                loss=loss,
                move=move,
            )
        )

    def _eta(self, seconds: float) -> float | None:
        if not self._fresh_work:
            return None
        ahead = [runs * scale.work for scale, runs in self._later.items()]
        left = self._left * self.scale.work + math.fsum(ahead)
        return seconds * left / self._fresh_work
