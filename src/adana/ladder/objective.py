"""Trainings as what a search tunes: hyperparameters become a run directory, and that a loss.

The run directories are the memory of the search. What `adana train`, `compare` or another search
has trained with the same settings below the same folder is not trained again.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.ladder.comparison import PlannedRun, job_payload, plan_run, run_job
from adana.nn import count_parameters
from adana.train import OptimizerConfig, TrainConfig, optimizer_entry
from adana.train.config import OPTIONAL
from adana.tune import Config, Result, Scale, Trial, Work, own_default

_OF_SCHEDULE = ("warmup_steps", "final")
_OF_TRAINING = ("clip", "batch_size")
_OF_OPTIMIZER = ("lr", "omega")


@dataclass(frozen=True)
class TrainingObjective:
    """One optimizer at one model size and number of tokens, as an `adana.tune.Objective`.

    A configuration holds any of lr, omega, what the optimizer reads of
    `adana.train.HYPERPARAMETERS`, warmup_steps, final, clip and batch_size; another batch size
    trains on the same number of tokens. `seed` counts up from the base's.
    """

    base: TrainConfig
    """What a configuration does not say."""
    root: Path
    """Folder of the run directories."""
    shards: Path
    """Folder of the prepared tokens."""
    fingerprint: str
    """Fingerprint of the tokens."""
    name: str = "all"
    """How reports call this size."""

    @property
    def scale(self) -> Scale:
        """The size: N (all parameters) and D (training tokens)."""
        tokens = self.base.steps * self.base.tokens_per_step
        return Scale(self.name, count_parameters(self.base.model).total, tokens)

    def train_config(self, config: Config) -> TrainConfig:
        """Return the whole configuration of a training.

        Raises:
            ValueError: a hyperparameter is unknown, not one of this optimizer, or out of range.
        """
        values = dict(config)
        base = self.base
        seed = base.seed + values.pop("seed", 0)
        reads = optimizer_entry(base.optimizer.name).reads
        unknown = set(values) - {*_OF_OPTIMIZER, *reads, *_OF_SCHEDULE, *_OF_TRAINING}
        if unknown:
            known = ", ".join((*_OF_OPTIMIZER, *reads, *_OF_SCHEDULE, *_OF_TRAINING))
            raise ValueError(
                f"{base.optimizer.name} cannot be tuned in {', '.join(sorted(unknown))}; "
                f"choose from {known}"
            )
        return dataclasses.replace(
            base,
            optimizer=self._optimizer(_pick(values, (*_OF_OPTIMIZER, *reads))),
            schedule=dataclasses.replace(base.schedule, **_pick(values, _OF_SCHEDULE)),
            steps=self._steps(values.get("batch_size", base.batch_size)),
            seed=seed,
            provenance={**base.provenance, "lr": "a search (adana tune)"},
            **_pick(values, _OF_TRAINING),
        )

    def plan(self, config: Config) -> PlannedRun:
        """Return the run of a configuration."""
        return plan_run(self.train_config(config), self.root, self.fingerprint)

    # --- what a search asks ---------------------------------------------------------------------

    def key(self, config: Config) -> str:
        """Return the name of the run directory, which ends in the identity of the run."""
        return self.plan(config).path.name

    def recall(self, config: Config) -> Trial | None:
        """Return what the run directory says, or None if the run did not come to its end."""
        planned = self.plan(config)
        return _read(planned, config) if planned.run.concluded else None

    def job(self, config: Config) -> tuple[Work, Any]:
        """Return the training, for a worker process."""
        return run_job, job_payload(self.plan(config), self.shards)

    def record(self, config: Config, result: Result) -> Trial | None:
        """Read the run directory, where the training has left everything."""
        if result.error:
            return Trial(config, error=result.error)
        if result.value.state == "interrupted":
            return None
        planned = self.plan(config)
        if not planned.run.concluded:
            return Trial(config, error=f"{result.value.state}: {result.value.reason}")
        return _read(planned, config)

    # --------------------------------------------------------------------------------------------

    def _optimizer(self, values: Mapping[str, Any]) -> OptimizerConfig:
        """Return the optimizer, with its own defaults left out: given or not, it is one run."""
        kappa = values.get("kappa", self.base.optimizer.kappa)
        own: dict[str, Any] = {
            name: None if name in OPTIONAL and value == own_default(name, kappa) else value
            for name, value in values.items()
        }
        return dataclasses.replace(self.base.optimizer, **own)

    def _steps(self, batch_size: int) -> int:
        """Return the steps that train on as many tokens with another batch size."""
        return max(1, round(self.base.steps * self.base.batch_size / batch_size))


def _pick(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _read(planned: PlannedRun, config: Config) -> Trial:
    """Return what a finished or diverged run says."""
    summary = planned.run.summary() if planned.run.finished else None
    if summary is not None:
        loss = float(summary["val_loss"])
        return Trial(config, loss, float(summary["seconds"]), int(summary["tokens"]))
    tokens = int(planned.run.status()["step"]) * planned.config.tokens_per_step
    timings = [row["timing"] for row in planned.run.metrics() if "timing" in row]
    speed = [row["tokens_per_second"] for row in timings if row.get("tokens_per_second")]
    seconds = tokens / statistics.median(speed) if speed else 0.0
    return Trial(config, math.inf, seconds, tokens)
