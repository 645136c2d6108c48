"""Tuned optima, read off finished runs: the best learning rate (or omega, ...) at each size.

At every size an optimizer was trained with several learning rates, and perhaps with several values
of one more hyperparameter, omega unless another is asked for; the value with the lowest bowl is
that size's. Runs are only put together where nothing else differs at that size: a bowl over two
data sets or two schedules would be a bowl of neither. After a search that moved other settings too,
each size can be taken at its best ones.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.laws.bowl import Bowl, fit_bowl_by_seed
from adana.laws.rule_forms import Scale
from adana.nn import count_parameters
from adana.report.reading import explained, misnamed
from adana.runs import Run, RunError, identity, science
from adana.train import TrainConfig, config_from_dict, optimizer_entry
from adana.train.config import OPTIONAL

TUNABLE = ("lr", "omega", "kappa", "delta", "momentum_scale")
"""Hyperparameters that rules are for: positive numbers that every configuration states."""
BESIDE_LR = "omega"
"""What may differ besides the learning rate where rules for that are asked for."""
SEARCHED = frozenset(
    {
        *("optimizer", "schedule", "clip", "z_coeff", "batch_size", "steps"),
        *("eval_every", "log_every"),  # these follow from the steps
    }
)
"""Parts of a configuration that a search may have moved at one size and number of tokens."""


@dataclass(frozen=True)
class TunedSize:
    """One optimizer at one size, tuned over learning rates and one more hyperparameter."""

    optimizer: str
    family: str
    scale: Scale
    tokens_per_step: int
    beside: str
    """The other hyperparameter: a name of `TUNABLE`."""
    bowls: Mapping[float, Bowl]
    """By its value: the bowl over learning rates."""
    across: Bowl
    """The bowl over its values (`_across`)."""
    settings: Mapping[str, Any]
    """What all its runs have in common; of several values of `beside`, the best."""
    runs: tuple[str, ...]
    """Identities of its runs."""

    @property
    def bowl(self) -> Bowl:
        """The lowest bowl over learning rates."""
        return self.bowls[self.settings[self.beside]]

    def optimum(self, hyperparameter: str) -> Bowl:
        """Return the bowl over a hyperparameter; its `lr` is the best value of that.

        Raises:
            ValueError: these runs were not read for this hyperparameter.
        """
        if hyperparameter == "lr":
            return self.bowl
        if hyperparameter != self.beside:
            raise ValueError(
                f"these runs were read for lr and {self.beside}, not for {hyperparameter!r}"
            )
        return self.across


def read_tuned(
    runs: Iterable[Run], *, hyperparameter: str = "lr", best_settings: bool = False
) -> tuple[list[TunedSize], list[str]]:
    """Return what was tuned in these runs, by optimizer and size, and notes on what was left out.

    Runs of a size may differ in learning rate, seed and `hyperparameter` (omega for lr). Diverged
    runs are results; left out are unfinished ones, and those with a file that cannot be read. With
    `best_settings`, runs of a size may differ in `SEARCHED` too: taken are those that share the
    settings of the lowest bowl.

    Raises:
        ValueError: runs of one optimizer and size differ in more than that, or rules are for other
            hyperparameters.
    """
    if hyperparameter not in TUNABLE:
        raise ValueError(f"rules are for {', '.join(TUNABLE)}, not for {hyperparameter!r}")
    beside = BESIDE_LR if hyperparameter == "lr" else hyperparameter
    trials: dict[tuple[str, Scale], list[_Trial]] = {}
    notes: list[str] = []
    known: set[str] = set()
    for run in runs:
        try:
            with explained(run):
                trial = _read(run, beside)
        except RunError as error:
            notes.append(f"left out: {error}")
            continue
        if trial is not None and (changed := misnamed(str(run.path), trial.identity)):
            notes.append(f"beware: {changed}")
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
        _check_alike(own, beside, free)
        size, note = _best(own, beside)
        found += [size] if size else []
        notes += [note] if note else []
    return sorted(found, key=_order), notes


def _best(trials: Sequence[_Trial], beside: str) -> tuple[TunedSize | None, str]:
    """Return the lowest bowl of a size, of all settings that were tried, and a note on the rest."""
    first = trials[0]
    where = f"{first.config.optimizer.name} at P = {first.scale.non_embedding:,.0f}"
    groups = [g for g in _groups(trials) if any(math.isfinite(trial.loss) for trial in g)]
    if not groups:
        return None, f"left out: every run of {where} diverged; try lower learning rates"
    sizes = [_tuned(group, beside) for group in groups]
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


def _read(run: Run, beside: str) -> _Trial | None:
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
    tuned = ("lr", beside, "label")
    rest["optimizer"] = {k: v for k, v in rest["optimizer"].items() if k not in tuned}
    return _Trial(config, scale_of(config), loss, identity(content), rest)


def _groups(trials: Sequence[_Trial]) -> list[list[_Trial]]:
    """Return the trials that differ in nothing but what is tuned, together."""
    groups: dict[str, list[_Trial]] = {}
    for trial in trials:
        groups.setdefault(json.dumps(trial.rest, sort_keys=True), []).append(trial)
    return list(groups.values())


def _check_alike(trials: Sequence[_Trial], beside: str, free: frozenset[str]) -> None:
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
                f"differ in {_named(differing, first.rest, other.rest)} too (say {first.identity} "
                f"and {other.identity}), so that they make no bowl. Name only runs that differ in "
                f"learning rate, {beside} and seed{search}"
            )


def _named(keys: Sequence[str], one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Name parts of a configuration that differ; of the optimizer, what of it."""
    found = []
    for key in keys:
        own, theirs = one[key], other.get(key)
        if key == "optimizer" and isinstance(theirs, Mapping):
            inner = [k for k in dict.fromkeys((*own, *theirs)) if own.get(k) != theirs.get(k)]
            found.append(f"{key} ({', '.join(inner)})")
        else:
            found.append(key)
    return ", ".join(found)


def _tuned(trials: Sequence[_Trial], beside: str) -> TunedSize:
    config = trials[0].config
    grids: dict[float, dict[float, dict[int, float]]] = {}
    for trial in trials:
        grid = grids.setdefault(getattr(trial.config.optimizer, beside), {})
        grid.setdefault(trial.config.optimizer.lr, {})[trial.config.seed] = trial.loss
    bowls = {
        value: fit_bowl_by_seed(list(grid), list(grid.values()))
        for value, grid in sorted(grids.items())
        if any(loss != math.inf for losses in grid.values() for loss in losses.values())
    }
    best = min(bowls, key=lambda value: (not bowls[value].convex, bowls[value].loss))
    return TunedSize(
        optimizer=config.optimizer.name,
        family=config.model.family,
        scale=trials[0].scale,
        tokens_per_step=config.tokens_per_step,
        beside=beside,
        bowls=bowls,
        across=_across(grids, bowls, best, beside),
        settings=run_settings(config) | {beside: best},
        runs=tuple(sorted(trial.identity for trial in trials)),
    )


def _across(
    grids: Mapping[float, Mapping[float, Mapping[int, float]]],
    bowls: Mapping[float, Bowl],
    best: float,
    name: str,
) -> Bowl:
    """Return the bowl over the values of a hyperparameter.

    Of the lowest points of their bowls, where every value has one. Else, as after a descent, which
    tries other values at its best learning rate only, of the losses at the rate that is best with
    the best value. Zero has no place on a logarithmic axis and is left out.
    """
    if all(bowl.convex for bowl in bowls.values()):
        kept = {value: {0: bowl.loss} for value, bowl in bowls.items() if value > 0}
    else:
        own = grids[best]
        rate = min(own, key=lambda lr: statistics.fmean(own[lr].values()))
        kept = {v: dict(grid[rate]) for v, grid in grids.items() if v > 0 and rate in grid}
    return fit_bowl_by_seed(list(kept), list(kept.values()), what=name)


def scale_of(config: TrainConfig) -> Scale:
    """Return how large a training is."""
    counts = count_parameters(config.model)
    tokens = config.steps * config.tokens_per_step
    return Scale(counts.non_embedding, counts.total, tokens, config.model.width)


def run_settings(config: TrainConfig) -> dict[str, Any]:
    """Return what, beyond size and batch, moves the best learning rate: by the names of flags."""
    optimizer = dataclasses.asdict(config.optimizer)
    try:
        reads = optimizer_entry(config.optimizer.name).reads
    except ValueError:  # of a package that is not installed here
        reads = tuple(name for name in OPTIONAL if optimizer[name] is not None)
    own = {name: optimizer[name] for name in reads}
    return {
        **own,
        "omega": config.optimizer.omega,
        "init": config.model.init,
        "schedule": config.schedule.name,
        "final": config.schedule.final,
        "clip": config.clip,
    }
