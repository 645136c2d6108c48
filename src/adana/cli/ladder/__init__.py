"""`adana ladder`: plan a ladder of models, or train a small one and report on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from adana.cli.ladder.plan import PlanLadder, plan_command
from adana.cli.ladder.run import RunLadder, run_command

Action = (
    Annotated[PlanLadder, tyro.conf.subcommand("plan")]
    | Annotated[RunLadder, tyro.conf.subcommand("run")]
)

_ACTIONS: dict[type, Callable[[Any], int]] = {PlanLadder: plan_command, RunLadder: run_command}


@dataclass(frozen=True)
class LadderArguments:
    """Plan a ladder of models, or train a small one and report what the optimizers save.

    A ladder is one shape of model at growing sizes.
        adana ladder plan enoki --heads 6 8 12    what it would cost; trains nothing
        adana ladder run --preset smoke           a ladder in minutes, with its report
        adana ladder run                          one in about two hours on 2 cores
    """

    action: Action


def ladder_command(arguments: LadderArguments) -> int:
    """Run `adana ladder`; return the exit code."""
    return _ACTIONS[type(arguments.action)](arguments.action)
