"""Coordinate descent over grids: one hyperparameter at a time, again and again, until none moves.

Plain, parallel and auditable: every decision is a row of losses that a person can look at. What it
cannot see, two hyperparameters that only help together, the joint check (`joint.py`) looks for.
Source: marin issues 725 and 1290, arXiv 2509.02046 (spec/peers_harness sections 2.1 and 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adana.tune.space import Parameter
from adana.tune.sweep import Losses, Sweep, sweep
from adana.tune.trial import Config

MAX_PASSES = 6
"""Passes at most: in practice two to four are needed (arXiv 2509.02046)."""


@dataclass(frozen=True)
class Move:
    """One sweep of a pass, and whether its best value went into the baseline."""

    sweep: Sweep
    moved: bool


@dataclass(frozen=True)
class Descent:
    """Where coordinate descent ended, and every row of losses on the way."""

    best: dict[str, Any]
    """The configuration that it ended with."""
    loss: float
    passes: tuple[tuple[Move, ...], ...]
    converged: bool
    """Whether the last pass moved nothing."""
    space: tuple[Parameter, ...]
    """The hyperparameters with their grids as they ended: around the optimum."""

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """The last sweep of every hyperparameter, by name: around `best`, if it converged."""
        return {move.sweep.name: move.sweep for move in self.passes[-1]}


OnSweep = Callable[[int, Parameter], None]
"""Called with (number of the pass from 1, hyperparameter) before a sweep begins."""


def descend(
    losses: Losses,
    space: Sequence[Parameter],
    start: Config,
    delta1: float,
    *,
    max_passes: int = MAX_PASSES,
    on_sweep: OnSweep = lambda _number, _parameter: None,
    on_move: Callable[[Move], None] = lambda _move: None,
) -> Descent:
    """Descend from `start` until a pass moves nothing by more than `delta1`.

    A grid that had to be extended keeps its length: the next pass takes the part around the best.

    Args:
        losses: gives the losses of a batch of configurations.
        space: the hyperparameters, in the order in which they are tried.
        start: a whole configuration; its other keys stay as they are.
        delta1: what a value must gain to be taken into the baseline (`noise.py`).
        max_passes: passes at most.
        on_sweep, on_move: called before and after every sweep.

    Raises:
        RuntimeError: all values of a hyperparameter diverged, so there is nowhere to go.
    """
    base, space = dict(start), list(space)
    passes: list[tuple[Move, ...]] = []
    for number in range(1, max_passes + 1):
        moves = []
        for place, parameter in enumerate(space):
            on_sweep(number, parameter)
            found = sweep(losses, base, parameter, delta1)
            if math.isinf(found.loss):
                raise RuntimeError(
                    f"every value of {found.name} diverged ({', '.join(map(str, found.values))}): "
                    "begin with a configuration that trains, say at a lower learning rate"
                )
            move = Move(found, found.gain > delta1)
            if move.moved:
                base[parameter.name] = found.best
            if len(found.values) > len(parameter.values(found.before)):  # the grid was extended
                space[place] = parameter.sliding(found.values, base[parameter.name])
            moves.append(move)
            on_move(move)
        passes.append(tuple(moves))
        if not any(move.moved for move in moves):
            break
    last = passes[-1][-1]
    loss = last.sweep.loss if last.moved else last.sweep.loss_before
    converged = not any(move.moved for move in passes[-1])
    return Descent(base, loss, tuple(passes), converged, tuple(space))
