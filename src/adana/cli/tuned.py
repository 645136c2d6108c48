"""`--tuned` of a comparison: what searches found in place of flags, and what is said about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adana.cli.choices import without_rate
from adana.cli.settings import Settings
from adana.ladder import RuleBook, unseen_seed, with_best
from adana.report import plain
from adana.searches import Search
from adana.train import TrainConfig

FROM_SEARCH = (
    *("warmup_steps", "cooldown_steps", "final", "clip", "omega", "tau_epochs", "kappa", "delta"),
    *("momentum_scale", "momentum_cooldown", "beta1", "beta2", "eps", "clip_snr", "state_dtype"),
)
"""Flags about what comes from a search."""


def tuned_config(
    settings: Settings, search: Search, rules: RuleBook, fingerprint: str, tokens: int
) -> TrainConfig:
    """Return the configuration of a search's optimizer with what was found for it.

    Raises:
        ValueError: the search was of another size or kind of training.
    """
    return with_best(without_rate(settings, search.name, rules, tokens), search, fingerprint)


def check_flags(
    settings: Settings,
    configs: Mapping[str, TrainConfig],
    bests: Mapping[str, Search],
    tell: Callable[[str], None],
) -> None:
    """Say which flags do not hold for optimizers whose settings come from searches.

    Raises:
        ValueError: a flag holds for no optimizer at all.
    """
    default = Settings()
    given = [n for n in FROM_SEARCH if getattr(settings, n) != getattr(default, n)]
    rest = [name for name in configs if name not in bests]
    for name, search in bests.items():
        for flag in given:
            found, own = _value(configs[name], flag), getattr(settings, flag)
            if found == own:
                continue
            text = f"--{flag.replace('_', '-')} {plain(own)}"
            known = "its default" if found is None else plain(found)
            theirs = "" if flag == "tau_epochs" else f" ({known})"
            if not rest:
                raise ValueError(
                    f"{text}: {name} has what {search.folder} found{theirs}, and so has all that "
                    "is compared; leave the flag out"
                )
            tell(f"{text} is for {', '.join(rest)}; {name} has what {search.folder} found{theirs}")


def _value(config: TrainConfig, flag: str) -> Any:
    for own in (config.optimizer, config.schedule, config):
        if hasattr(own, flag):
            return getattr(own, flag)
    return None


def on_new_seeds(
    configs: Mapping[str, TrainConfig],
    bests: Mapping[str, Search],
    seed: int,
    tell: Callable[[str], None],
) -> dict[str, TrainConfig]:
    """Return the configurations with a first seed above all that the searches have trained."""
    first = max(seed, unseen_seed(bests.values()))
    tell(f"seeds from {first} on, which no search has trained")
    return {name: dataclasses.replace(own, seed=first) for name, own in configs.items()}


def refuse_rates(rates: Sequence[str], bests: Mapping[str, Search]) -> None:
    """Raise `ValueError` for a learning rate that is given and comes from a search too."""
    for name in rates:
        if name in bests:
            raise ValueError(
                f"--lr {name}: its learning rate comes from {bests[name].folder} (--tuned); leave "
                "out one of the two"
            )
