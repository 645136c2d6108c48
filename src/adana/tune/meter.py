"""How far a whole search is, and when it may end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adana.tune.budget import joint_runs, noise_runs, planned_runs, runs_of_a_pass
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


FILLING = "trying the best values of each scale at the others"

COMBINING = "trying all that gained a little together"

OnProgress = Callable[[Progress], None]


class Meter:
    """Counts runs and guesses how many are left.

    Expected of every scale that has not begun: a first pass, and a second that confirms it. Of the
    one at work: what is left of its pass, and one more pass once something has moved. A descent
    that goes on after the noise was measured again knows all around its start, so nothing is
    expected of it until something moves.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        rules: Rules,
        on_progress: OnProgress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._clock, self._begun = on_progress, clock, clock()
        self._rules = rules
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
        self._measured = 0
        self._noise_ahead = 0
        self._fresh_work = 0.0

    def begin_scale(self, scale: Scale) -> None:
        """Another scale begins."""
        self.scale, self._moved, self._measured = scale, False, 0
        self._noise_ahead = noise_runs(self._rules)
        self._left = self._later.pop(scale)
        self._say("begins")

    def begin_noise(self) -> None:
        """The noise is measured."""
        self._measured += 1
        if self._measured > 1:  # where a descent ended
            self._moved, self._noise_ahead, self._left = False, 0, noise_runs(self._rules)
        self._say("measuring the noise")

    def begin_joint(self, first: str, second: str) -> None:
        """Two hyperparameters are checked together."""
        self._expect(joint_runs(self._rules))
        self._say(f"{first} and {second} together")

    def begin_combination(self) -> None:
        """All that gained a little is tried together."""
        self._left = len(self._rules.judging_seeds)
        self._say(COMBINING)

    def begin_again(self) -> None:
        """The search of this scale goes on from there, where it knows nothing yet."""
        self._moved, self._measured = False, 0
        self._noise_ahead = noise_runs(self._rules)
        self._left = sum(planned_runs(self._spaces[self.scale], self._rules))

    def begin_filling(self, runs: Mapping[Scale, int]) -> None:
        """Values of one scale are tried at the others: so many runs of each."""
        self._later, self._left = dict(runs), 0
        self._say(FILLING)

    def fill_scale(self, scale: Scale) -> None:
        """They are tried at this one."""
        self.scale, self._left = scale, self._later.pop(scale)
        self._say(FILLING)

    def end(self) -> None:
        """All is known."""
        self._left = 0
        self._say("done")

    def on_sweep(self, number: int, parameter: Parameter) -> None:
        """A sweep begins."""
        space = self._spaces[self.scale]
        place = [own.name for own in space].index(parameter.name)
        if place == 0:
            # A first pass nearly always moves something.
            self._moved = number == 1 and self._measured < 2
        again = runs_of_a_pass(space, self._rules) if self._moved else 0
        self._expect(runs_of_a_pass(space[place:], self._rules) + again + joint_runs(self._rules))
        self._say(f"pass {number}: {parameter.name}")

    def on_move(self, move: Move) -> None:
        """A sweep has ended."""
        if move.moved:
            self._moved, self._noise_ahead = True, noise_runs(self._rules)
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

    def _expect(self, runs: int) -> None:
        """Expect so many runs of this descent, and the noise where it ends."""
        known = self._measured > 1 and not self._noise_ahead
        self._left = 0 if known else runs + self._noise_ahead

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
