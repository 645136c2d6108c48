"""The best configurations of searches, for comparisons and ladders on seeds that no search saw.

A search flatters what it ends at: its best value is also its luckiest. What optimizers are worth
when each is tuned is seen where their best configurations are trained anew with other seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.ladder.objective import search_setting, training_scale, with_hyperparameters
from adana.report import Search, read_search
from adana.report.search import SearchAt
from adana.train import TrainConfig


def read_bests(folders: Iterable[Path], optimizers: Sequence[str]) -> dict[str, Search]:
    """Read searches by `adana tune`, one at most for each optimizer.

    Raises:
        ValueError: two are of one optimizer, or one is of an optimizer that is not compared.
        RunError: a folder does not hold a search that can be read.
    """
    found: dict[str, Search] = {}
    for folder in folders:
        search = read_search(folder)
        if search.name not in optimizers:
            raise ValueError(
                f"{folder} is a search for {search.name}, which is not compared; compared are "
                f"{', '.join(optimizers)}"
            )
        if search.name in found:
            raise ValueError(
                f"{found[search.name].folder} and {folder} are both searches for {search.name}; "
                "name one of them"
            )
        found[search.name] = search
    return found


def with_best(config: TrainConfig, search: Search, fingerprint: str) -> TrainConfig:
    """Return a configuration with the best hyperparameters that a search found at its size.

    Args:
        config: of the same optimizer, size, data and schedule as the search.
        search: as `read_bests` returns it.
        fingerprint: of the data.

    Raises:
        ValueError: the search was of another size or kind of training, or tuned the batch size,
            which all optimizers of a comparison share.
    """
    check_setting(config, search, fingerprint)
    found = _at_size(config, search)
    _check_batch(config, search, found)
    tuned = with_hyperparameters(config, {name: found.best[name] for name in found.tuned})
    source = f"{', '.join(found.tuned)} tuned in {len(found.trials)} trainings ({search.folder})"
    return dataclasses.replace(tuned, provenance={**tuned.provenance, "lr": source})


@dataclass(frozen=True)
class Carried:
    """What a search found, carried to other sizes: all but the learning rate."""

    values: Mapping[str, Any]
    """Hyperparameters that are the same at every size."""
    warmup: float | None
    """Warm-up as a share of the steps; None: as everyone's."""
    source: str

    def apply(self, config: TrainConfig) -> TrainConfig:
        """Return a configuration with these in it."""
        values = dict(self.values)
        if self.warmup is not None:
            values["warmup_steps"] = round(self.warmup * config.steps)
        tuned = with_hyperparameters(config, values)
        sources = dict.fromkeys(values, self.source)
        return dataclasses.replace(tuned, provenance={**tuned.provenance, **sources})


def carried(config: TrainConfig, search: Search, fingerprint: str) -> Carried:
    """Return what a search found at its largest size, for a configuration of any size.

    Raises:
        ValueError: the search was of another kind of training, or tuned the batch size.
    """
    check_setting(config, search, fingerprint)
    found = max(search.scales, key=lambda scale: scale.parameters * scale.tokens)
    _check_batch(config, search, found)
    values = {name: found.best[name] for name in found.tuned if name not in ("lr", "batch_size")}
    warmup = None
    if "warmup_steps" in values and found.steps:
        warmup = values.pop("warmup_steps") / found.steps
    return Carried(values, warmup, f"tuned at {found.size} ({search.folder})")


def check_setting(config: TrainConfig, search: Search, fingerprint: str) -> None:
    """Raise `ValueError` for a search whose losses say nothing of this configuration."""
    if search.setting != search_setting(config, fingerprint):
        raise ValueError(
            f"{search.folder} was a search on other data or with another kind of model, schedule "
            f"or precision; give the flags of its command: {search.command}"
        )


def _check_batch(config: TrainConfig, search: Search, found: SearchAt) -> None:
    if "batch_size" in found.tuned and found.best["batch_size"] != config.batch_size:
        raise ValueError(
            f"{search.folder} found batch size {found.best['batch_size']}, and a comparison has "
            f"one for all, here {config.batch_size}; search at that one (--batch-size) without "
            "tuning it"
        )


def _at_size(config: TrainConfig, search: Search) -> SearchAt:
    own = training_scale(config)
    for found in search.scales:
        if (found.parameters, found.tokens) == (own.parameters, own.tokens):
            return found
    sizes = "; ".join(
        f"{found.size} ({found.parameters:,.0f} parameters, {found.tokens:,.0f} tokens)"
        for found in search.scales
    )
    raise ValueError(
        f"{search.folder} did not search at {own.parameters:,.0f} parameters and "
        f"{own.tokens:,.0f} tokens, but at {sizes}; give the flags of one of these"
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
