"""What a search ends with, and how it stands on disk as JSON.

The keys of a scale follow marin's tree of results: `best_config`, `min_loss`, `near_optimal` (its
`approximate_best_config_list`), `ablations`, and here also every pass, the joint checks, what
was tried together, the thresholds with their source, and what it cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adana.runs import read_json
from adana.searches import VERSION, results_below
from adana.tune.budget import Budget, budget_of
from adana.tune.combination import Combination
from adana.tune.descent import Descent, Move
from adana.tune.joint import JointCheck
from adana.tune.noise import NoiseFloor
from adana.tune.scale import Scale
from adana.tune.sensitivity import Sensitivity
from adana.tune.sweep import Sweep
from adana.tune.trial import Trial


@dataclass(frozen=True)
class ScaleResult:
    """What was found at one scale."""

    scale: Scale
    start: dict[str, Any]
    """The configuration that the search began with."""
    warm_start: str
    """The scale whose best values it began with; empty: the baseline of the space."""
    best: dict[str, Any]
    """The best configuration."""
    loss: float
    """Its loss, the mean over seeds."""
    seeds: int
    """Seeds of every configuration of the search."""
    descent: Descent
    joints: tuple[JointCheck, ...]
    combinations: tuple[Combination, ...]
    """What came of all values together that gained a little, wherever the search came to rest."""
    floor: NoiseFloor
    """The thresholds that its moves were decided with; verdicts over scales have the study's."""
    budget: Budget
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """Every training of it, by its key."""
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    """The last sweep of each hyperparameter, with values filled in from other scales."""

    @property
    def edges(self) -> dict[str, str]:
        """Hyperparameters whose optimum is not between worse values, with the reason."""
        return {name: own.edge for name, own in self.sweeps.items() if own.edge}

    @property
    def remarks(self) -> list[str]:
        """What a person must know before trusting the optimum.

        Of the joint checks those that moved the search, and the last of each pair.
        """
        last = {check.names: check for check in self.joints}
        texts = [own.verdict for own in self.joints if own.moved or own is last[own.names]]
        texts += [self._about(combination) for combination in self.combinations]
        texts += [
            f"the best {name} is no optimum between worse values: {edge}"
            for name, edge in self.edges.items()
        ]
        if not self.descent.converged:
            texts.append(
                f"still moving after {len(self.descent.passes)} passes; the same search with more "
                "passes (max_passes) goes on"
            )
        if self.warm_start:
            texts.append(f"began from the best of {self.warm_start}")
        return texts

    def _about(self, own: Combination) -> str:
        """Return the verdict on values tried together, and what became of those taken."""
        left = [name for name, value in own.values.items() if self.best[name] != value]
        if not own.moved or not left:
            return own.verdict
        later = ", ".join(f"{name} {self.best[name]}" for name in left)
        return f"{own.verdict}; from there the search went on to {later}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; infinite losses (diverged) become the text "inf"."""
        near = {name: own.near_optimal(self.floor.delta2) for name, own in self.sweeps.items()}
        return {
            "version": VERSION,
            "scale": dataclasses.asdict(self.scale),
            "best_config": self.best,
            "min_loss": self.loss,
            "seeds": self.seeds,
            "converged": self.descent.converged,
            "start": self.start,
            "warm_start": self.warm_start,
            "near_optimal": {name: list(values) for name, values in near.items()},
            "ablations": [_sweep_dict(own) for own in self.sweeps.values()],
            "edges": self.edges,
            "remarks": self.remarks,
            "passes": [[_move_dict(move) for move in moves] for moves in self.descent.passes],
            "joint": [dataclasses.asdict(check) for check in self.joints],
            "together": [dataclasses.asdict(own) for own in self.combinations],
            "thresholds": dataclasses.asdict(self.floor),
            "budget": dataclasses.asdict(self.budget),
            "trials": {
                key: {
                    "config": dict(trial.config),
                    "loss": trial.loss,
                    "seconds": trial.seconds,
                    "tokens": trial.tokens,
                }
                for key, trial in self.trials.items()
            },
        }


@dataclass(frozen=True)
class StudyResult:
    """What was found at all scales, the cheapest first."""

    scales: tuple[ScaleResult, ...]
    sensitivities: tuple[Sensitivity, ...]
    floor: NoiseFloor

    @property
    def budget(self) -> Budget:
        """What all of it cost."""
        return sum((result.budget for result in self.scales), Budget())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "version": VERSION,
            "scales": [result.to_dict() for result in self.scales],
            "sensitivities": [dataclasses.asdict(own) for own in self.sensitivities],
            "thresholds": dataclasses.asdict(self.floor),
            "budget": dataclasses.asdict(self.budget),
        }


def _sweep_dict(own: Sweep) -> dict[str, Any]:
    several = zip(own.values, own.losses, strict=True)
    return {
        "name": own.name,
        "best": own.best_value,
        "gain": own.gain,
        "edge": own.edge,
        "losses": [{"value": value, "loss": loss} for value, loss in several],
    }


def _move_dict(move: Move) -> dict[str, Any]:
    return {
        "before": move.sweep.before,
        "after": move.sweep.best if move.moved else move.sweep.before,
        "moved": move.moved,
        **_sweep_dict(move.sweep),
    }


def spent_below(root: Path | str) -> dict[str, Budget]:
    """Return what the searches below `root` spent on each optimizer, no training counted twice.

    Only files that name an optimizer count: those of `adana tune`.

    Raises:
        RunError: a file cannot be read.
    """
    trials: dict[str, dict[str, Trial]] = {}
    for path in results_below(root):
        content = read_json(path)
        if "optimizer" not in content:
            continue
        known = trials.setdefault(content["optimizer"], {})
        for own in content["scales"]:
            for key, row in own.get("trials", {}).items():
                known[key] = Trial({}, float(row["loss"]), row["seconds"], row["tokens"])
    return {name: budget_of(own.values(), len(own)) for name, own in trials.items()}


def earlier_bests(
    files: Iterable[Path], optimizer: str, setting: str
) -> dict[Scale, dict[str, Any]]:
    """Return the best configuration of every scale that earlier searches have written.

    Only files that name the optimizer and say `"setting": setting` count: what else the losses
    depend on.

    Raises:
        RunError: a file cannot be read.
    """
    found = {}
    for path in files:
        content = read_json(path)
        if (content.get("optimizer"), content.get("setting")) != (optimizer, setting):
            continue
        for own in content["scales"]:
            found[Scale(**own["scale"])] = dict(own["best_config"])
    return found
