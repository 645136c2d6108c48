"""What a fair comparison trains: same data order, same initial weights, each at its own rate."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.data import open_shards
from adana.ladder.learning_rates import Rate
from adana.runs import Run, identity
from adana.train import (
    Outcome,
    ScheduleConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
    train,
)

SWEEP_FACTOR = 2.0
"""Ratio of neighbouring learning rates in a sweep."""


@dataclass(frozen=True)
class PlannedRun:
    """One training of a comparison."""

    config: TrainConfig
    path: Path
    """Its run directory; the name holds label, steps, seed and identity."""
    fingerprint: str
    """Fingerprint of the tokens it trains on."""

    @property
    def run(self) -> Run:
        """The run directory."""
        return Run(self.path)


def plan_run(config: TrainConfig, root: Path | str, data_fingerprint: str) -> PlannedRun:
    """Give a configuration its directory below `root`."""
    key = identity(config_to_dict(config, data_fingerprint))
    name = f"{folder_name(config.optimizer.label)}-T{config.steps}-s{config.seed}-{key}"
    return PlannedRun(config, Path(root) / name, data_fingerprint)


def folder_name(label: str) -> str:
    """Return a label as it may stand in the name of a folder.

    >>> folder_name("adana:kappa=0.9,omega=8")
    'adana-kappa0.9-omega8'
    >>> folder_name("adamw:beta2=0.95")
    'adamw-beta2-0.95'
    """
    apart = re.sub(r"(?<=\d)=", "-", label)
    return apart.replace("=", "").replace(":", "-").replace(",", "-")


def sweep_rates(centre: Rate, points: int) -> list[Rate]:
    """Return `points` learning rates around `centre`, each `SWEEP_FACTOR` times the last."""
    exponents = [i - (points - 1) // 2 for i in range(points)]
    source = f"sweep of {points} rates by factors of {SWEEP_FACTOR:g} around {centre.lr:g}"
    rates = [centre.lr * SWEEP_FACTOR**i for i in exponents]
    return [Rate(float(f"{rate:.4g}"), source) for rate in rates]  # as printed, to be typed again


def plan_seeds_and_horizons(
    configs: Mapping[str, TrainConfig],
    *,
    baseline: str,
    seeds: int,
    horizons: Sequence[float],
) -> list[TrainConfig]:
    """Return every training of a comparison.

    `configs` has one configuration per optimizer at the main horizon (factor 1). Each is trained
    with `seeds` seeds, counted up from its own; the baseline also at every other factor of
    `horizons`, rounded to whole steps, for the compute multiplier; warm-up and cooldown keep their
    share of the steps.
    """
    planned = []
    for name, config in configs.items():
        factors = {1.0, *horizons} if name == baseline else {1.0}
        for steps in {max(1, round(config.steps * factor)) for factor in factors}:
            planned += [
                dataclasses.replace(_with_steps(config, steps), seed=config.seed + offset)
                for offset in range(seeds)
            ]
    return sorted(planned, key=lambda c: -c.steps)  # the longest first keeps all workers busy


def _with_steps(config: TrainConfig, steps: int) -> TrainConfig:
    """Return `config` at another horizon, whose steps no rule gave."""
    if steps == config.steps:
        return config
    provenance = {key: words for key, words in config.provenance.items() if key != "steps"}
    schedule = stretched(config.schedule, config.steps, steps)
    return dataclasses.replace(config, steps=steps, schedule=schedule, provenance=provenance)


def stretched(schedule: ScheduleConfig, before: int, steps: int) -> ScheduleConfig:
    """Return a schedule of `before` steps over another number of them.

    Warm-up and cooldown keep their share, also where they were given in steps.
    """
    lengths = {
        name: min(round(length * steps / before), steps - 1)
        for name in ("warmup_steps", "cooldown_steps")
        if (length := getattr(schedule, name)) is not None
    }
    return dataclasses.replace(schedule, **lengths)


def run_job(payload: dict[str, Any], emit: Any) -> Outcome:
    """Train one planned run in a worker process; the target of `adana.tune.run_jobs`."""
    config = config_from_dict(payload["config"])
    shards = open_shards(Path(payload["shards"]))
    return train(config, shards, Run(Path(payload["run"])), emit)


def job_payload(planned: PlannedRun, shards_folder: Path | str) -> dict[str, Any]:
    """Return what `run_job` needs, as plain values.

    Paths are made absolute: a worker of a cluster has another working directory.
    """
    return {
        "config": config_to_dict(planned.config, planned.fingerprint),
        "shards": str(Path(shards_folder).resolve()),
        "run": str(planned.path.resolve()),
    }
