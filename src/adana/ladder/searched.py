"""The best configurations of searches, for comparisons and ladders on seeds that no search saw.

A search flatters what it ends at: its best value is also its luckiest. What optimizers are worth
when each is tuned is seen where their best configurations are trained anew with other seeds.

From a search come the optimizer, the schedule and the clip, whether they were tuned in it or held;
the rest of the training has to be that of the search, or is an error that names the difference.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.ladder.comparison import stretched
from adana.runs import science
from adana.searches import Search, SearchAt, read_search
from adana.train import (
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
)

FOUND = ("optimizer", "clip")
"""Parts of a configuration that come from a search; the schedule does too, but for its name."""
NO_MATTER = ("version", "seed", "eval_tokens", "eval_every", "log_every", "averages")
"""Parts that may differ from the search's: they do not change what is trained."""
OF_SIZE = ("steps", "heads", "head_dim", "layers", "width")
"""Parts that differ from size to size of a ladder."""


def read_bests(
    folders: Iterable[Path],
    optimizers: Sequence[str],
    tell: Callable[[str], None] = lambda _text: None,
) -> dict[str, Search]:
    """Read searches by `adana tune`, one at most for each optimizer.

    Those for optimizers that are not named are left out; `tell` is told which.

    Raises:
        ValueError: two are for one optimizer, or none is for any of them.
        RunError: a folder does not hold a search that can be read.
    """
    found: dict[str, Search] = {}
    folders = list(folders)
    for folder in folders:
        search = read_search(folder)
        if search.name not in optimizers:
            tell(f"left out: {folder}, a search for {search.name}")
        elif search.name in found:
            raise ValueError(
                f"{found[search.name].folder} and {folder} are both searches for {search.name}; "
                "name one of them"
            )
        else:
            found[search.name] = search
    if folders and not found:
        raise ValueError(f"--tuned names no search for {' or '.join(optimizers)}")
    return found


def with_best(config: TrainConfig, search: Search, fingerprint: str) -> TrainConfig:
    """Return a configuration with what a search found at its size, the learning rate included.

    Args:
        config: the rest of the training. Its optimizer is that of the search, whose learning rate
            and other hyperparameters do not matter.
        search: as `read_bests` returns it.
        fingerprint: of the data.

    Raises:
        ValueError: the search was of another size or kind of training.
    """
    own = _rest(config_to_dict(config, fingerprint))
    found, differing = min(
        ((scale, _differences(own, _rest(_whole(search, scale)))) for scale in search.scales),
        key=lambda pair: len(pair[1]),
    )
    if differing:
        raise ValueError(
            f"{search.folder} was not a search of this training: {_listed(differing)}. What trains "
            f"its best: {search.commands.get(found.size, search.command)}"
        )
    best = _best(search, found)
    count = len(found.trials)
    source = f"{', '.join(found.tuned)} tuned in {count} trainings ({search.folder})"
    if found.edges:
        edges = ", ".join(f"{name} ({edge})" for name, edge in found.edges.items())
        source += f"; no optimum between worse values: {edges}"
    sources = {**best.provenance, **dict.fromkeys(found.tuned, source)}
    sources["lr"] = source if "lr" in found.tuned else f"{best.provenance['lr']}; {source}"
    return dataclasses.replace(
        config,
        optimizer=best.optimizer,
        schedule=best.schedule,
        clip=best.clip,
        provenance={**config.provenance, **sources},
    )


@dataclass(frozen=True)
class Carried:
    """What a search found, carried to other sizes: all but the learning rate."""

    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    clip: float
    steps: int
    """Of the search's trainings; warm-up and cooldown keep their shares of the steps."""
    tuned: tuple[str, ...]
    """What was tuned in it besides the learning rate."""
    source: str

    @property
    def identity(self) -> dict[str, Any]:
        """What changes the trainings, as plain values."""
        optimizer = dataclasses.asdict(self.optimizer) | {"lr": None}
        schedule = dataclasses.asdict(self.schedule)
        return {"optimizer": optimizer, "schedule": schedule, "clip": self.clip, "T": self.steps}

    def apply(self, config: TrainConfig) -> TrainConfig:
        """Return a configuration with these in it."""
        sources = dict.fromkeys(self.tuned, self.source)
        return dataclasses.replace(
            config,
            optimizer=dataclasses.replace(self.optimizer, lr=config.optimizer.lr),
            schedule=stretched(self.schedule, self.steps, config.steps),
            clip=self.clip,
            provenance={**config.provenance, **sources},
        )


def carried(config: TrainConfig, search: Search, fingerprint: str) -> Carried:
    """Return what a search found at its largest size, for a configuration of any size.

    Raises:
        ValueError: the search was of another kind of training.
    """
    found = max(search.scales, key=lambda scale: scale.parameters * scale.tokens)
    own = _rest(config_to_dict(config, fingerprint), sizes=False)
    differing = _differences(own, _rest(_whole(search, found), sizes=False))
    if differing:
        raise ValueError(
            f"{search.folder} was not a search of such trainings: {_listed(differing)}. Search "
            "with these settings of the ladder"
        )
    best = _best(search, found)
    tuned = tuple(name for name in found.tuned if name != "lr")
    return Carried(
        optimizer=best.optimizer,
        schedule=best.schedule,
        clip=best.clip,
        steps=best.steps,
        tuned=tuned,
        source=f"tuned at {found.size} ({search.folder})",
    )


def unseen_seed(searches: Iterable[Search]) -> int:
    """Return the first seed above all that the searches have trained."""
    seeds = [
        search.seed + trial["config"].get("seed", 0)
        for search in searches
        for scale in search.scales
        for trial in scale.trials
    ]
    return 1 + max(seeds, default=-1)


def _whole(search: Search, found: SearchAt) -> Mapping[str, Any]:
    if found.config is None:
        raise ValueError(
            f"{search.folder} is a search from Python, whose trainings are not known here; compare "
            "searches of `adana tune`"
        )
    return found.config


def _best(search: Search, found: SearchAt) -> TrainConfig:
    """Return the best configuration, with what follows from the steps left open again."""
    best = config_from_dict(_whole(search, found))
    horizon = None if best.optimizer.horizon == best.steps else best.optimizer.horizon
    own, default = best.schedule, ScheduleConfig(best.schedule.name).resolve(best.steps)
    warmup = None if own.warmup_steps == default.warmup_steps else own.warmup_steps
    cooldown = None if own.cooldown_steps == default.cooldown_steps else own.cooldown_steps
    return dataclasses.replace(
        best,
        optimizer=dataclasses.replace(best.optimizer, horizon=horizon),
        schedule=dataclasses.replace(own, warmup_steps=warmup, cooldown_steps=cooldown),
    )


def _rest(config: Mapping[str, Any], *, sizes: bool = True) -> dict[str, Any]:
    """Return what has to be the same in a search and in what it is used for, flat."""
    kept = {k: v for k, v in science(config).items() if k not in (*FOUND, *NO_MATTER)}
    kept["schedule"] = {"name": config["schedule"]["name"]}
    flat: dict[str, Any] = {}
    for key, value in kept.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        flat |= {f"{key}.{name}".rstrip("."): x for name, x in inner.items()}
    if sizes:
        return flat
    return {key: x for key, x in flat.items() if key.rpartition(".")[2] not in OF_SIZE}


def _differences(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys((*own, *other))
    return [(key, other.get(key), own.get(key)) for key in keys if own.get(key) != other.get(key)]


def _listed(differing: Iterable[tuple[str, Any, Any]]) -> str:
    return ", ".join(
        "the tokens are others (another corpus, tokenizer or split)"
        if key == "data.fingerprint"
        else f"{key} is {json.dumps(theirs)} there and {json.dumps(ours)} here"
        for key, theirs, ours in differing
    )
