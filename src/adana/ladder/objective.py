"""Training as what the tuner tunes: hyperparameters -> configuration -> run directory -> loss.

The run directories are the memory of the search: a configuration that was ever trained, by whatever
verb, is not trained again, and one that was cut off goes on from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adana.ladder.comparison import PlannedRun, job_payload, plan_run, run_job
from adana.nn import count_parameters
from adana.runs import Run, folder_key
from adana.train import (
    HYPERPARAMETERS,
    OPTIMIZERS,
    LayoutConfig,
    Outcome,
    TrainConfig,
    optimizer_entry,
)
from adana.train.config import OPTIONAL
from adana.tune import Result, Scale, Trial, aligned, own_default, preset_of, preset_space
from adana.tune.space import Integer, Log, Space
from adana.tune.trial import Config, Work

OF_OPTIMIZER = ("lr", "omega", *HYPERPARAMETERS)
"""Hyperparameters that are fields of `OptimizerConfig`."""
OF_SCHEDULE = ("warmup_steps", "final")
"""Hyperparameters that are fields of `ScheduleConfig`."""
OF_TRAINING = ("clip",)
"""Hyperparameters that are fields of `TrainConfig`; `batch_size` and `seed` have rules of their
own."""
MIN_STEPS = 10
"""Steps that the largest batch size of a search leaves."""
SOURCE = "tuned (adana tune)"
"""The provenance of a learning rate that a search tries."""


def hyperparameters(config: TrainConfig) -> dict[str, Any]:
    """Return the value of every hyperparameter that can be tuned; None: the optimizer's default."""
    config = config.resolve()
    return {
        **{name: getattr(config.optimizer, name) for name in OF_OPTIMIZER},
        **{name: getattr(config.schedule, name) for name in OF_SCHEDULE},
        **{name: getattr(config, name) for name in (*OF_TRAINING, "batch_size")},
    }


def with_hyperparameters(base: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return `base` with other hyperparameters.

    `batch_size` keeps the number of tokens, those of warm-up and cooldown too, to whole steps, so
    it changes the steps; `warmup_steps` are counted at the base's batch size. `seed` is counted up
    from that of `base`. A value that is the optimizer's own default, where that is known, is left
    out, so that it is the same run as one that never named it.

    Raises:
        ValueError: a hyperparameter is unknown or out of its range.
    """
    known = (*OF_OPTIMIZER, *OF_SCHEDULE, *OF_TRAINING, "batch_size", "seed")
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(f"cannot tune {', '.join(unknown)}; known are {', '.join(known)}")
    own = {name: values[name] for name in OF_OPTIMIZER if name in values}
    kappa = own.get("kappa", base.optimizer.kappa)
    for name in own.keys() & set(OPTIONAL):
        if own[name] == _default(base.optimizer.name, name, kappa):
            own[name] = None
    schedule = {name: values[name] for name in OF_SCHEDULE if name in values}
    changes: dict[str, Any] = {name: values[name] for name in OF_TRAINING if name in values}
    if "batch_size" in values:
        tokens = base.steps * base.batch_size
        changes["batch_size"] = values["batch_size"]
        changes["steps"] = steps = max(1, round(tokens / values["batch_size"]))
        warmup = schedule.get("warmup_steps", base.schedule.warmup_steps)
        if warmup is not None:
            schedule["warmup_steps"] = min(round(warmup * steps / base.steps), steps - 1)
        if base.schedule.cooldown_steps is not None:
            schedule["cooldown_steps"] = round(base.schedule.cooldown_steps * steps / base.steps)
    if "seed" in values:
        changes["seed"] = base.seed + values["seed"]
    micro = base.layout.micro_batch
    if micro is not None:
        micro = min(micro, changes.get("batch_size", micro))
        changes["layout"] = dataclasses.replace(base.layout, micro_batch=micro)
    provenance = {**base.provenance, **({"lr": SOURCE} if "lr" in values else {})}
    if changes.get("steps", base.steps) != base.steps:
        provenance.pop("steps", None)
    return dataclasses.replace(
        base,
        optimizer=dataclasses.replace(base.optimizer, **own),
        schedule=dataclasses.replace(base.schedule, **schedule),
        provenance=provenance,
        **changes,
    )


def _default(optimizer: str, hyperparameter: str, kappa: float) -> float | None:
    """Return the optimizer's own default of one of `OPTIONAL`, where that is known."""
    if optimizer in OPTIMIZERS:
        return own_default(hyperparameter, kappa)
    return optimizer_entry(optimizer).defaults.get(hyperparameter)


def tuned_in(name: str) -> tuple[str, ...]:
    """Return what the optimizer called `name` is tuned in, of this package or of another.

    Raises:
        ValueError: there is no such optimizer.
    """
    return preset_of(name, optimizer_entry(name).reads)


def training_space(
    base: TrainConfig, parameters: Sequence[str] | None = None, align: Sequence[str] = ()
) -> Space:
    """Return the search space of a configuration's optimizer, from its own values on.

    Args:
        base: the configuration that the search begins with.
        parameters: hyperparameters in the order in which they are tried; default the optimizer's
            preset (`adana.tune.PRESETS`).
        align: those that begin at the nearest value of the grid that all scales share.

    Raises:
        ValueError: the optimizer does not have one of them.
    """
    preset = tuned_in(base.optimizer.name)
    if base.schedule.name == "constant":  # which has no end to fall to
        if "final" in (parameters or ()):
            raise ValueError("the schedule constant has no `final` to tune; name another parameter")
        parameters = [n for n in parameters or preset if n != "final"]
    known = optimizer_entry(base.optimizer.name).defaults
    values: dict[str, Any] = {
        name: known.get(name) if value is None else value
        for name, value in hyperparameters(base).items()
    }
    values |= {name: aligned(name, values[name]) for name in align}
    limits = {
        "warmup_steps": base.steps // 2,
        "omega": base.steps - 1,
        "batch_size": base.batch_size * base.steps // MIN_STEPS,
    }
    # More warm-up than that leaves no training, more decay removes whole weights at a step.
    return tuple(
        _at_most(parameter, limits[parameter.name]) if parameter.name in limits else parameter
        for parameter in preset_space(base.optimizer.name, values, parameters, preset=preset)
    )


def _at_most(parameter: Any, high: float) -> Log | Integer:
    """Return a space without values above `high`; what the search begins with stays."""
    high = max(high, parameter.baseline)
    grid = tuple(value for value in parameter.grid if value <= high) or (parameter.baseline,)
    limited: Log | Integer = dataclasses.replace(
        parameter, grid=grid, high=min(high, parameter.high)
    )
    return limited


def training_scale(config: TrainConfig, name: str = "") -> Scale:
    """Return N and D of a configuration; the name is made of them unless one is given."""
    parameters = count_parameters(config.model).total
    tokens = config.steps * config.tokens_per_step
    return Scale(name or f"N {short(parameters)}, D {short(tokens)}", parameters, tokens)


def search_setting(config: TrainConfig, fingerprint: str) -> str:
    """Return digits of what searches must share so that one says something of another.

    That is data, schedule, precision, and all of the model but its size.
    """
    model = config.model
    return folder_key(
        [
            *(model.family, model.vocab_size, model.sequence_length, model.init),
            *(config.schedule.name, config.precision, fingerprint),
        ]
    )


def short(number: float) -> str:
    """Write a large number briefly.

    >>> short(2_457_600)
    '2.46M'
    """
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"


class TrainingObjective:
    """The final validation loss of a training, with its run directory as memory.

    Args:
        base: everything that the search does not change.
        root: folder of the run directories.
        shards_folder: the tokens.
        fingerprint: of the tokens.
        layout: where and how each training executes.
    """

    def __init__(
        self,
        base: TrainConfig,
        root: Path | str,
        shards_folder: Path | str,
        fingerprint: str,
        layout: LayoutConfig | None = None,
    ) -> None:
        layout = layout or base.layout
        self.base = dataclasses.replace(base, layout=layout)
        self.root, self.shards_folder = Path(root), Path(shards_folder)
        self.fingerprint = fingerprint

    def plan(self, config: Config) -> PlannedRun:
        """Return the configuration of a training, and its directory."""
        return plan_run(with_hyperparameters(self.base, config), self.root, self.fingerprint)

    def key(self, config: Config) -> str:
        """Return the name of the run directory, which holds the identity."""
        return self.plan(config).path.name

    def recall(self, config: Config) -> Trial | None:
        """Return what the run directory says, if its training came to an end."""
        planned = self.plan(config)
        state = planned.run.status()["state"]
        if not planned.run.finished and state != "diverged":
            return None
        return _read(planned, config)

    def job(self, config: Config) -> tuple[Work, Any]:
        """Return the training and its payload."""
        return run_job, job_payload(self.plan(config), self.shards_folder)

    def record(self, config: Config, result: Result) -> Trial | None:
        """Return what became of a training; the run directory has it already."""
        if result.error:
            return Trial(config, error=result.error)
        outcome: Outcome = result.value
        if outcome.state == "interrupted":
            return None
        if outcome.state == "failed":
            return Trial(config, error=outcome.reason)
        # A shared file system may show the summary a little later than the worker wrote it.
        return _read(self.plan(config), config, outcome.summary)


def _read(planned: PlannedRun, config: Config, summary: Mapping[str, Any] | None = None) -> Trial:
    """Read loss and cost off a run that finished or diverged."""
    run, training = planned.run, planned.config
    summary = summary or run.summary()
    if summary is not None:
        loss = float(summary["val_loss"])
        loss = loss if math.isfinite(loss) else math.inf
        return Trial(config, loss, summary["seconds"], summary["tokens"])
    step = run.status()["step"]
    return Trial(config, seconds=_seconds(run), tokens=step * training.tokens_per_step)


def _seconds(run: Run) -> float:
    """Return the time that a run without a summary took, up to its last row."""
    times = [row["timing"]["seconds"] for row in run.metrics() if "timing" in row]
    return float(times[-1]) if times else 0.0
