"""Tuned optima, read off finished runs: the best learning rate (or omega) at each size.

At every size an optimizer was trained with several learning rates; where several omegas were tried,
the one with the lowest bowl is that size's. Runs are only put together where nothing else differs
at that size: a bowl over two data sets or two kappas would be a bowl of neither. After a search
that moved other settings too, each size can be taken at its best ones.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.laws.bowl import Bowl, fit_bowl, fit_bowl_by_seed
from adana.laws.rule_forms import Scale
from adana.nn import count_parameters
from adana.runs import Run, identity, science
from adana.train import TrainConfig, config_from_dict, optimizer_entry

TUNABLE = ("lr", "omega")
"""Hyperparameters that rules are for."""
SEARCHED = frozenset(
    {
        *("optimizer", "schedule", "clip", "z_coeff", "batch_size", "steps"),
        *("eval_every", "log_every"),  # these follow from the steps
    }
)
"""Parts of a configuration that a search may have moved at one size and number of tokens."""


@dataclass(frozen=True)
class TunedSize:
    """One optimizer at one size, tuned over learning rates and perhaps over omega."""

    optimizer: str
    family: str
    scale: Scale
    tokens_per_step: int
    bowls: Mapping[float, Bowl]
    """By omega: the bowl over learning rates."""
    settings: Mapping[str, Any]
    """What all its runs have in common; of several omegas, the best."""
    runs: tuple[str, ...]
    """Identities of its runs."""

    @property
    def omega(self) -> float:
        """The omega whose bowl is lowest."""
        return float(self.settings["omega"])

    @property
    def bowl(self) -> Bowl:
        """The lowest bowl over learning rates."""
        return self.bowls[self.omega]

    def optimum(self, hyperparameter: str) -> Bowl:
        """Return the bowl over a hyperparameter; its `lr` is the best value of that.

        Raises:
            ValueError: the hyperparameter is not one of `TUNABLE`.
        """
        if hyperparameter == "lr":
            return self.bowl
        if hyperparameter != "omega":
            known = ", ".join(TUNABLE)
            raise ValueError(f"rules are for {known}, not for {hyperparameter!r}")
        return fit_bowl(list(self.bowls), [bowl.loss for bowl in self.bowls.values()], what="omega")


def read_tuned(
    runs: Iterable[Run], *, best_settings: bool = False
) -> tuple[list[TunedSize], list[str]]:
    """Return what was tuned in these runs, by optimizer and size, and notes on what was left out.

    Diverged runs are results; unfinished ones are left out. With `best_settings`, runs of a size
    may differ in `SEARCHED` too: taken are those that share the settings of the lowest bowl.

    Raises:
        RunError: a configuration is of another version.
        ValueError: runs of one optimizer and size differ in more than that.
    """
    trials: dict[tuple[str, Scale], list[_Trial]] = {}
    notes: list[str] = []
    known: set[str] = set()
    for run in runs:
        trial = _read(run)
        if trial is None:
            notes.append(f"left out: {run.path} is {run.status()['state']}")
        elif trial.identity in known:
            notes.append(f"left out: {run.path} is a training that is there already")
        else:
            known.add(trial.identity)
            trials.setdefault((trial.config.optimizer.name, trial.scale), []).append(trial)
    free = SEARCHED if best_settings else frozenset()
    found = []
    for own in trials.values():
        _check_alike(own, free)
        size, note = _best(own)
        found += [size] if size else []
        notes += [note] if note else []
    return sorted(found, key=_order), notes


def _best(trials: Sequence[_Trial]) -> tuple[TunedSize | None, str]:
    """Return the lowest bowl of a size, of all settings that were tried, and a note on the rest."""
    first = trials[0]
    where = f"{first.config.optimizer.name} at P = {first.scale.non_embedding:,.0f}"
    groups = [g for g in _groups(trials) if any(math.isfinite(trial.loss) for trial in g)]
    if not groups:
        return None, f"left out: every run of {where} diverged; try lower learning rates"
    sizes = [_tuned(group) for group in groups]
    best = min(sizes, key=lambda size: (not size.bowl.convex, size.bowl.loss))
    if len(sizes) == 1:
        return best, ""
    kept = f"{len(best.runs)} of {len(trials)} runs"
    return best, f"{where}: the best of {len(sizes)} settings, {kept}"


def _order(size: TunedSize) -> tuple[str, str, float, float]:
    scale = size.scale
    return size.optimizer, size.family, scale.non_embedding * scale.tokens, scale.tokens


@dataclass(frozen=True)
class _Trial:
    config: TrainConfig
    scale: Scale
    loss: float
    identity: str
    rest: Mapping[str, Any]
    """What must agree within a bowl."""


def _read(run: Run) -> _Trial | None:
    """Return one training, with an infinite loss if it diverged; None if it is not finished."""
    state, summary = run.status()["state"], run.summary()
    if state != "diverged" and not run.finished:
        return None
    content = run.config()
    config = config_from_dict(content)
    loss = math.inf
    if summary is not None and state != "diverged":
        loss = float(summary["val_loss"])
    rest = {k: v for k, v in science(content).items() if k not in ("seed", "version")}
    tuned = (*TUNABLE, "label")
    rest["optimizer"] = {k: v for k, v in rest["optimizer"].items() if k not in tuned}
    return _Trial(config, scale_of(config), loss, identity(content), rest)


def _groups(trials: Sequence[_Trial]) -> list[list[_Trial]]:
    """Return the trials that differ in nothing but what is tuned, together."""
    groups: dict[str, list[_Trial]] = {}
    for trial in trials:
        groups.setdefault(json.dumps(trial.rest, sort_keys=True), []).append(trial)
    return list(groups.values())


def _check_alike(trials: Sequence[_Trial], free: frozenset[str]) -> None:
    first = trials[0]
    for other in trials[1:]:
        keys = [key for key in first.rest if first.rest[key] != other.rest.get(key)]
        differing = [key for key in keys if key not in free]
        if differing:
            search = (
                ""
                if free or set(differing) - SEARCHED
                else (", or take the best settings of every size (--best-settings)")
            )
            name, scale = first.config.optimizer.name, first.scale
            raise ValueError(
                f"the runs of {name} at P = {scale.non_embedding:,.0f}, D = {scale.tokens:,.0f} "
                f"differ in {', '.join(differing)} too (say {first.identity} and "
                f"{other.identity}), so that they make no bowl. Name only runs that differ in "
                f"learning rate, omega and seed{search}"
            )


def _tuned(trials: Sequence[_Trial]) -> TunedSize:
    config = trials[0].config
    grids: dict[float, dict[float, dict[int, float]]] = {}
    for trial in trials:
        grid = grids.setdefault(trial.config.optimizer.omega, {})
        grid.setdefault(trial.config.optimizer.lr, {})[trial.config.seed] = trial.loss
    bowls = {
        omega: fit_bowl_by_seed(list(grid), list(grid.values()))
        for omega, grid in sorted(grids.items())
        if any(loss != math.inf for losses in grid.values() for loss in losses.values())
    }
    return TunedSize(
        optimizer=config.optimizer.name,
        family=config.model.family,
        scale=trials[0].scale,
        tokens_per_step=config.tokens_per_step,
        bowls=bowls,
        settings=run_settings(config) | {"omega": min(bowls, key=lambda o: bowls[o].loss)},
        runs=tuple(sorted(trial.identity for trial in trials)),
    )


def scale_of(config: TrainConfig) -> Scale:
    """Return how large a training is."""
    counts = count_parameters(config.model)
    tokens = config.steps * config.tokens_per_step
    return Scale(counts.non_embedding, counts.total, tokens, config.model.width)


def run_settings(config: TrainConfig) -> dict[str, Any]:
    """Return what, beyond size and batch, moves the best learning rate: by the names of flags."""
    optimizer = dataclasses.asdict(config.optimizer)
    own = {name: optimizer[name] for name in optimizer_entry(config.optimizer.name).reads}
    return {
        **own,
        "omega": config.optimizer.omega,
        "init": config.model.init,
        "schedule": config.schedule.name,
        "final": config.schedule.final,
        "clip": config.clip,
    }
