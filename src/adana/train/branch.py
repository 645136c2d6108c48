"""Many training lengths from one long run: cooldowns that branch off its checkpoints.

A run whose learning rate is constant after the warm-up (the trunk) passes through the very weights
that a shorter run of the schedule `wsd` would have at the start of its cooldown. So the shorter run
need not be trained from the beginning: it starts with the trunk's checkpoint and the trunk's
metrics up to there, and ends bit for bit as if it had been trained alone (arXiv 2405.18392 uses
this to get the losses of many lengths at a fraction of the compute).

For that to be true its decay must be planned for the trunk's length (`OptimizerConfig.horizon`).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

from adana.runs import Run, RunError, identity, read_json, science
from adana.train.averages import parse_average
from adana.train.checkpoint import (
    MANIFEST,
    STATE,
    UNFINISHED,
    checkpoint_folders,
    checkpoint_step,
    describe,
    finish_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)
from adana.train.config import ScheduleConfig, TrainConfig, config_from_dict, config_to_dict
from adana.train.optimizers import refuse_other_code

TRUNKS = ("constant", "wsd")
"""Schedules that are flat for long enough to branch from."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """What a branch begins with."""

    trunk: Run
    checkpoint: Path
    """The newest checkpoint of the trunk that is not past the start of the cooldown."""
    fork: int
    """The last step before the cooldown."""

    @property
    def saved_steps(self) -> int:
        """Steps that the branch does not train itself."""
        return checkpoint_step(self.checkpoint)


def branch_config(trunk: TrainConfig, steps: int, cooldown_steps: int) -> TrainConfig:
    """Return the configuration of a run of `steps` steps that ends in a cooldown.

    All else is the trunk's, the horizon of its decay included.

    Raises:
        ValueError: the trunk's schedule is not flat, or the lengths do not fit it.
    """
    trunk = trunk.resolve()
    schedule = trunk.schedule
    if schedule.name not in TRUNKS:
        raise ValueError(
            f"only a run with the schedule {' or '.join(TRUNKS)} can be branched: that of this one "
            f"is {schedule.name}. Train a trunk with --schedule constant --keep-every N."
        )
    warmup = schedule.warmup_steps or 0
    flat = trunk.steps - (schedule.cooldown_steps or 0)
    fork = steps - cooldown_steps
    if cooldown_steps < 1 or not warmup <= fork <= flat:
        raise ValueError(
            f"a cooldown of {cooldown_steps} steps that ends at step {steps} begins at {fork}; it "
            f"must last a step or more and begin while the trunk is flat, from {warmup} to {flat}"
        )
    own = ScheduleConfig("wsd", warmup, schedule.final, cooldown_steps)
    words = {"branch": f"the first {fork} steps are those of the trunk of {trunk.steps} steps"}
    return dataclasses.replace(
        trunk, steps=steps, schedule=own, provenance={**trunk.provenance, **words}
    )


def find_branch(trunk: Run, steps: int, cooldown_steps: int) -> tuple[TrainConfig, Branch]:
    """Return the configuration of a branch of `trunk` and where it starts.

    Raises:
        ValueError: as `branch_config`, or the trunk's optimizer is of a package whose code has
            changed since.
        RunError: the trunk has no whole checkpoint that early.
    """
    whole = config_from_dict(trunk.config()).resolve()
    refuse_other_code(whole.optimizer)
    config = branch_config(whole, steps, cooldown_steps)
    fork = steps - cooldown_steps
    last = min(fork, _common_past(config, whole))
    there = list_checkpoints(trunk.checkpoints)
    usable = [path for path in there if checkpoint_step(path) <= last]
    if not usable:
        have = ", ".join(str(checkpoint_step(path)) for path in there) or "none"
        raise RunError(
            f"{trunk.path} has no checkpoint up to step {last} (it has: {have}). Train the trunk "
            "with --keep-every N, or branch later."
        )
    return config, Branch(trunk, usable[-1], fork)


def _common_past(config: TrainConfig, trunk: TrainConfig) -> int:
    """Return the last step up to which the two runs leave the same state behind.

    A mean over a tail must not have begun in either. The trunk's last step writes a row that the
    branch does not, unless one was due.
    """
    tails = [rule for rule in map(parse_average, config.averages) if rule.tail < 1]
    begins = [rule.begins(steps) - 1 for rule in tails for steps in (config.steps, trunk.steps)]
    due = all(trunk.steps % (every or 1) == 0 for every in (trunk.log_every, trunk.eval_every))
    return min([trunk.steps if due else trunk.steps - 1, *begins])


def plant(branch: Branch, config: TrainConfig, run: Run, data_fingerprint: str) -> bool:
    """Make `run` go on from the trunk; False if it has checkpoints of its own already.

    The run directory then holds the trunk's checkpoint under the branch's identity, and the
    trunk's metrics up to it: `train` goes on from there as after an interruption. What a branch
    recorded that has trained and lost its checkpoints is set aside (`Run.set_metrics_aside`).

    Raises:
        RunError: the checkpoint is damaged or cannot be copied, or the two runs differ before the
            cooldown.
    """
    content = config_to_dict(config, data_fingerprint)
    _check_same_past(branch, content)
    plain = verify_checkpoint(branch.checkpoint)
    run.create()
    with run.lock():
        if run.finished or checkpoint_folders(run.checkpoints):
            return False
        if run.status()["step"] and any(run.metrics()):  # it has trained, and lost its checkpoints
            run.set_metrics_aside()
        run.truncate_metrics(-1)
        for row in branch.trunk.metrics():
            if row["step"] <= branch.saved_steps:
                run.append_metrics(row)
        own = {**plain, "identity": identity(content)}
        _copy_checkpoint(branch.checkpoint, run.checkpoints, own)
    return True


def _check_same_past(branch: Branch, content: dict[str, Any]) -> None:
    """Raise `RunError` unless the trunk's first steps are those of the configuration."""
    ours, theirs = science(content), science(branch.trunk.config())
    different = [key for key in ours if key not in {"steps", "schedule"}]
    different = [key for key in different if ours[key] != theirs.get(key)]
    if different:
        raise RunError(
            f"{branch.trunk.path} differs from the branch before the cooldown, in "
            f"{', '.join(different)}. Branch with the settings of the trunk."
        )
    mine, trunk = config_from_dict(content), config_from_dict(branch.trunk.config())
    gammas = (mine.schedule.gamma(mine.steps), trunk.schedule.gamma(trunk.steps))
    if any(gammas[0](t) != gammas[1](t) for t in range(1, branch.fork + 1)):
        raise RunError(f"the learning rates of {branch.trunk.path} and the branch differ early on")


def _copy_checkpoint(source: Path, folder: Path, plain: dict[str, Any]) -> None:
    """Copy a checkpoint under other plain values, whole or not at all; tensors are hard links."""
    final, unfinished = folder / source.name, folder / f"{UNFINISHED}{source.name}"
    manifest = read_json(source / MANIFEST)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for name in manifest["files"]:
            if name != STATE:
                _link(source / name, unfinished / name)
        finish_checkpoint(unfinished, final, plain, manifest)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise RunError(
            f"cannot write the checkpoint {final}: {error.strerror or error}. The trunk is intact. "
            "Free some space, then run the same command again."
        ) from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        describe(target)  # which sees it onto the disk
