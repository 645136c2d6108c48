"""The sizes that `adana tune` works at: what each trains, and where its search begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adana.cli.choices import pick_rate, without_rate
from adana.cli.settings import Settings
from adana.ladder import (
    NoLawError,
    Rate,
    RuleBook,
    centre_rate,
    open_rules,
    training_scale,
    training_space,
    with_optimizer,
)
from adana.nn import count_parameters
from adana.train import TrainConfig, refuse_unread
from adana.tune import Scale, Space

SCALED = (
    *("heads", "head_dim", "layers", "width", "sequence_length"),
    *("batch_size", "steps", "tokens_per_param"),
)
"""Settings that a size may change."""


@dataclass(frozen=True)
class Size:
    """One of the sizes that are tuned at."""

    settings: Settings
    """Those of the command line, at this size."""
    start: TrainConfig
    """What the search begins with, before its hyperparameters are put on the grid of all sizes."""
    rate: Rate
    """The learning rate of `start`, and where it comes from."""
    space: Space
    scale: Scale


def make_sizes(
    settings: Settings,
    optimizer: str,
    lr: float | None,
    parameters: Sequence[str],
    texts: Sequence[str] = (),
    *,
    train_tokens: int | None = None,
) -> list[Size]:
    """Return every size of a search, `texts` as --scales has them; none: that of the settings.

    What begins by a rule, not by a person's word, begins on the grid that all sizes share.
    `train_tokens`, the size of the data, is needed for --tau-epochs only.

    Raises:
        ValueError: a text is no size or there twice, the optimizer does not have a hyperparameter,
            or no rule gives a learning rate to begin with.
    """
    if len(set(texts)) < len(texts):
        raise ValueError(f"--scales {' '.join(texts)} names a size twice; name each once")
    return [
        _size(scaled(settings, t), optimizer, lr, parameters, text=t, train_tokens=train_tokens)
        for t in texts or ("",)
    ]


def scaled(settings: Settings, text: str) -> Settings:
    """Return the settings at a size: "3" (heads), "3x4" (on 4 times the tokens), or
    "heads=3,steps=300".

    Raises:
        ValueError: the text is none of these, or names what is no size.
    """
    heads, times, factor = text.partition("x")
    if heads.isdecimal():
        changes: dict[str, Any] = {"heads": int(heads)}
        if times:
            changes |= _more_tokens(settings, _number(text, factor, float))
    else:
        changes = dict(_change(text, item) for item in filter(None, text.split(",")))
    if settings.model == "lstm" and {"heads", "head_dim"} & set(changes):
        raise ValueError(f"--scales {text!r}: --model lstm has no heads; write width=VALUE")
    if "steps" in changes and "tokens_per_param" not in changes:
        changes["tokens_per_param"] = None
    return dataclasses.replace(settings, **changes)


def _change(text: str, item: str) -> tuple[str, Any]:
    name, _, value = item.partition("=")
    field = name.strip().replace("-", "_")
    if field not in SCALED:
        raise ValueError(
            f"--scales {text!r} is not HEADS, HEADSxFACTOR (so many times the tokens) or "
            f"NAME=VALUE,... of {', '.join(SCALED)}"
        )
    return field, _number(text, value, float if field == "tokens_per_param" else int)


def _more_tokens(settings: Settings, factor: float) -> dict[str, Any]:
    if settings.tokens_per_param is not None:
        return {"tokens_per_param": settings.tokens_per_param * factor}
    return {"steps": max(1, round(settings.steps * factor))}


def _number(text: str, value: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = 0
    if not 0 < number < 1e12:
        raise ValueError(f"--scales {text!r}: {value!r} is no number above 0")
    return number


def _size(
    settings: Settings,
    optimizer: str,
    lr: float | None,
    parameters: Sequence[str],
    *,
    text: str,
    train_tokens: int | None,
) -> Size:
    refuse_unread(settings.optimizer_config(optimizer, 1.0), optimizer)
    rules = open_rules(settings.rules)
    config = without_rate(settings, optimizer, rules, train_tokens)
    rate = _rate(settings, config, lr, rules)
    start = with_optimizer(config, optimizer, rate)
    ruled = [("lr", lr), ("warmup_steps", settings.warmup_steps)]
    align = [name for name, given in ruled if given is None and name in parameters]
    space = training_space(start, parameters, align)
    return Size(settings, start, rate, space, training_scale(start, _in_words(text)))


def _in_words(text: str) -> str:
    """Return what tables call a size: "3x4" is 3 heads on 4 times the tokens."""
    heads, times, factor = text.partition("x")
    if not heads.isdecimal():
        return text
    data = f", {factor}x tokens" if times else ""
    return f"{heads} head{'' if heads == '1' else 's'}{data}"


def _rate(settings: Settings, config: TrainConfig, lr: float | None, rules: RuleBook) -> Rate:
    """Return the rate to begin with: the rule's; below the sizes of its law, the demo's carried."""
    optimizer, model = config.optimizer.name, config.model
    try:
        rate = pick_rate(settings, config, lr, rules)
        law = rate.law
        if law and law.fitted and count_parameters(model).non_embedding < law.fitted[0]:
            return centre_rate(optimizer, model)
    except NoLawError as error:
        raise ValueError(
            f"no rule gives a learning rate for {optimizer} to begin with: pass one (--lr); "
            "it need not be good, the search moves on from it"
        ) from error
    return rate
