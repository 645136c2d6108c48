"""The command line that trains a given configuration: what a person copies and runs."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from adana.cli.settings import Settings
from adana.cli.train import TrainArguments
from adana.train import TrainConfig


def train_words(settings: Settings, config: TrainConfig) -> str:
    """Return the `adana train` command of a configuration made of `settings`.

    Only what differs from the defaults is written. What the configuration has of its own
    (hyperparameters, batch, steps) replaces that of the settings.
    """
    optimizer, schedule = config.optimizer, config.schedule
    own: dict[str, Any] = {
        "optimizer": optimizer.name,
        "lr": optimizer.lr,
        "warmup_steps": schedule.warmup_steps,
        "final": schedule.final,
        "clip": config.clip,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "tau_epochs": None,  # omega says it, and the rate is given
        "rules": (),
    }
    shared = {field.name for field in dataclasses.fields(settings)}
    own |= {
        field.name: getattr(optimizer, field.name)
        for field in dataclasses.fields(optimizer)
        if field.name in shared and field.name not in own
    }
    # Counted in steps or sequences, so a search that tunes the batch changes them.
    if settings.cooldown_steps is not None:
        own["cooldown_steps"] = schedule.cooldown_steps
    if settings.micro_batch is not None:
        own["micro_batch"] = config.layout.micro_batch
    if config.steps != settings.total_steps:
        own |= {"steps": config.steps, "tokens_per_param": None}
    if settings.tokens_per_param is not None and "steps" not in own:
        own["steps"] = TrainArguments.steps  # the two exclude each other
    words = ["adana", "train"]
    for field in dataclasses.fields(TrainArguments):
        value = own.get(field.name, getattr(settings, field.name, field.default))
        if value != field.default and value is not None:
            words += _flag(field.name, value)
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, tuple):
        return [flag, *map(str, value)]
    return [flag, str(value)]
