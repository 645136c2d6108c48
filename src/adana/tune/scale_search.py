"""The search at one scale: noise, descent, joint checks, and all small gains together.

The whole method in the order in which it happens. Each part has a file of its own; this one only
puts them together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from adana.tune.combination import Combination, candidates, judge
from adana.tune.descent import Descent, Move, descend
from adana.tune.evaluate import Evaluator
from adana.tune.joint import JointCheck, check_jointly
from adana.tune.meter import Meter
from adana.tune.noise import NoiseFloor, noise_floor
from adana.tune.problem import Rules
from adana.tune.space import Parameter
from adana.tune.trial import Config

MAX_JOINT_ROUNDS = 3
"""Descents from a pair that a joint check found, at most."""
MAX_NOISE_ROUNDS = 4
"""Measurements of the noise until a search rests, at most."""
MAX_COMBINATIONS = 2
"""Searches that go on from all that gained a little together, at most."""


@dataclass(frozen=True)
class Found:
    """What a search at one scale ends with."""

    descent: Descent
    """Where it ended, with all passes on the way."""
    joints: tuple[JointCheck, ...]
    combinations: tuple[Combination, ...]
    floor: NoiseFloor
    """The thresholds that its last moves were decided with."""


class ScaleSearch:
    """One search.

    Args:
        evaluator: finds losses.
        rules: how it decides.
        meter: is told how far it is.
        elsewhere: losses over seeds at other scales, which the thresholds rest on too.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        rules: Rules,
        meter: Meter,
        elsewhere: Sequence[Sequence[float]],
    ) -> None:
        self.evaluator, self.rules, self.meter = evaluator, rules, meter
        self.elsewhere = elsewhere
        self.noise: list[float] = []
        """Losses over seeds where the noise was measured last."""

    def run(self, space: Sequence[Parameter], start: Config) -> Found:
        """Search until nothing moves, neither one by one nor all small gains together."""
        passes: tuple[tuple[Move, ...], ...] = ()
        joints: list[JointCheck] = []
        combinations: list[Combination] = []
        for round_ in range(MAX_COMBINATIONS + 1):
            descent, checks, floor = self._settle(space, start)
            passes, joints = passes + descent.passes, joints + checks
            combination = self._combine(descent, checks) if round_ < MAX_COMBINATIONS else None
            combinations += [combination] if combination else []
            if not (combination and combination.moved):
                break
            start, space = {**descent.best, **combination.values}, descent.space
            self.meter.begin_again()
        descent = dataclasses.replace(descent, passes=passes)
        return Found(descent, tuple(joints), tuple(combinations), floor)

    def _settle(
        self, space: Sequence[Parameter], start: Config
    ) -> tuple[Descent, list[JointCheck], NoiseFloor]:
        """Descend until nothing moves; return all passes, all joint checks, the last thresholds.

        Far from the optimum losses spread more, and large differences would not count. So the noise
        is measured again where a descent ended, and the search goes on with what it is there.
        """
        passes: tuple[tuple[Move, ...], ...] = ()
        joints: list[JointCheck] = []
        for _ in range(MAX_NOISE_ROUNDS):
            self._measure_noise(start)
            floor = self._floor(self.rules.seeds)
            descent, checks = self._descend(space, start, floor)
            passes, joints = passes + descent.passes, joints + checks
            if self.rules.noise_seeds < 2 or descent.best == start:
                break
            start, space = descent.best, descent.space
        return dataclasses.replace(descent, passes=passes), joints, floor

    def _measure_noise(self, config: Config) -> None:
        """Measure the noise at a configuration, in place of any other before."""
        if self.rules.noise_seeds > 1:
            self.meter.begin_noise()
            seeds = range(self.rules.noise_seeds)
            self.noise = self.evaluator.losses_of_seeds("baseline", config, seeds)

    def _floor(self, seeds: int) -> NoiseFloor:
        """Return the thresholds for differences of means of so many seeds."""
        rules = self.rules
        return noise_floor([*self.elsewhere, self.noise], seeds, rules.delta1, rules.delta2)

    def _descend(
        self, space: Sequence[Parameter], start: Config, floor: NoiseFloor
    ) -> tuple[Descent, list[JointCheck]]:
        """Descend; where a joint check finds a better pair, descend again from there."""
        passes: tuple[tuple[Move, ...], ...] = ()
        joints: list[JointCheck] = []
        for round_ in range(MAX_JOINT_ROUNDS + 1):
            descent = descend(
                self.evaluator.losses,
                space,
                start,
                floor.delta1,
                max_passes=self.rules.max_passes,
                on_sweep=self.meter.on_sweep,
                on_move=self.meter.on_move,
            )
            passes += descent.passes
            better = None
            for first, second in self.rules.joint if round_ < MAX_JOINT_ROUNDS else ():
                self.meter.begin_joint(first, second)
                own = {parameter.name: parameter for parameter in descent.space}
                check = check_jointly(
                    self.evaluator.losses, descent.best, own[first], own[second], floor.delta1
                )
                joints.append(check)
                if check.moved:
                    better = check.changes
                    break
            if better is None:
                break
            start, space = {**descent.best, **better}, descent.space
        return dataclasses.replace(descent, passes=passes), joints

    def _combine(self, descent: Descent, joints: Sequence[JointCheck]) -> Combination | None:
        """Try all that gained a little together; None: there are not two of them."""
        rules, rest = self.rules, descent.best
        # The joint checks of a round that moved nothing are around `rest`; there is one for each.
        around = joints[-len(rules.joint) :] if rules.joint and not joints[-1].moved else ()
        values = candidates([*descent.sweeps.values()], around) if descent.converged else {}
        if len(values) < 2:
            return None
        seeds = rules.judging_seeds
        others = seeds.start >= rules.seeds
        if not others and any(values == check.changes for check in around):
            return None  # which is known already, and on the same seeds
        self.meter.begin_combination()
        config = {**rest, **values}
        before = self._losses("best", rest, seeds)
        together = self._losses("together", config, seeds)
        delta1 = self._floor(len(seeds)).delta1
        found = judge(rest, values, seeds, (before, together), delta1, others=others)
        if found.moved and math.isinf(self.evaluator.losses({"together": config})["together"]):
            # The search would go on with its own seeds, and on one of them it diverges.
            return judge(rest, values, seeds, (before, [math.inf]), delta1, others=others)
        return found

    def _losses(self, name: str, config: Config, seeds: Sequence[int]) -> list[float]:
        if self.evaluator.seeded:
            return self.evaluator.losses_of_seeds(name, config, seeds)
        return [self.evaluator.losses({name: config})[name]]
