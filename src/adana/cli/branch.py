"""`adana branch`: several training lengths from one long run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.cli.prepare import prepare_on_ranks
from adana.cli.progress import Display
from adana.cli.run_folders import check_folder
from adana.cli.terminal import say, unbreakable
from adana.cli.train import exit_code, outcome_text, stopping_early
from adana.data import Shards
from adana.ladder import PlannedRun, plan_run
from adana.report import find_run
from adana.schedules import default_cooldown_steps
from adana.train import (
    Branch,
    Outcome,
    World,
    find_branch,
    join_world,
    plant,
    train,
)


@dataclass(frozen=True)
class BranchArguments:
    """Cool a long run down at several points, for the losses of several training lengths.

    Train the long run first, with a flat learning rate and checkpoints that stay:
        adana train --schedule constant --steps 4000 --keep-every 200 --run runs/trunk

    Then each length costs only its cooldown:
        adana branch runs/trunk --steps 1000 2000 4000

    A branch ends bit for bit like a run with the schedule wsd that was trained from the beginning,
    with weight decay planned for the length of the trunk.
    """

    trunk: Annotated[str, tyro.conf.Positional]
    """The long run: the beginning of its name below --runs, or of its identity; or a path."""
    steps: tuple[int, ...]
    """Training lengths in steps, cooldown included."""
    cooldown: float | None = None
    """Length of the cooldown as a fraction of each training. Default: a fifth."""
    runs: Path = Path("runs")
    """Folder of the run directories, where those of the branches are made."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    threads: int | None = None
    """CPU threads. Default: the trunk's. Micro-batches, sharding and compilation are the trunk's
    too; on several devices start this with torchrun, as the trunk."""


def branch_command(arguments: BranchArguments) -> int:
    """Run `adana branch`; return the exit code."""
    check_folder("--runs", arguments.runs)
    if not arguments.steps:
        raise ValueError("--steps names no training length; give one or several, as --steps 1000")
    if arguments.cooldown is not None and not 0 < arguments.cooldown < 1:
        raise ValueError(f"--cooldown must be between 0 and 1, got {arguments.cooldown}")
    trunk = find_run(arguments.runs, arguments.trunk)
    # All lengths are checked before the first is trained.
    found = [find_branch(trunk, steps, _cooldown(arguments, steps)) for steps in arguments.steps]
    codes = []
    with stopping_early(), join_world(arguments.device) as world:
        console = unbreakable(Console(quiet=not world.first))
        known = trunk.config()["data"]["fingerprint"]  # of tokens whose text may be gone
        data = dataclasses.replace(found[0][0].data, fingerprint=known)
        shards = prepare_on_ranks(data, console, world)
        for each, branch in found:
            layout = dataclasses.replace(each.layout, device=arguments.device, time_limit=None)
            if arguments.threads:
                layout = dataclasses.replace(layout, threads=arguments.threads)
            config = dataclasses.replace(each, layout=layout)
            planned = plan_run(config, arguments.runs, shards.fingerprint)
            outcome = _train(planned, branch, shards, console, world)
            codes.append(exit_code(outcome))
            if outcome.state == "interrupted":
                break
    return max(codes)


def _train(
    planned: PlannedRun, branch: Branch, shards: Shards, console: Console, world: World
) -> Outcome:
    config = planned.config
    world.decide(lambda: plant(branch, config, planned.run, shards.fingerprint))
    label = f"{config.optimizer.label} T{config.steps}"
    say(
        console,
        f"{label}: cooldown from step {branch.fork}, from the trunk's checkpoint of step "
        f"{branch.saved_steps}, in {planned.path}",
    )
    with Display(console, config.steps, jobs=1) as display:
        outcome = train(
            config, shards, planned.run, lambda sign: display.update(label, sign), world
        )
        display.finish(label, outcome_text(outcome))
    return outcome


def _cooldown(arguments: BranchArguments, steps: int) -> int:
    if arguments.cooldown is None:
        return default_cooldown_steps(steps)
    return round(arguments.cooldown * steps)
