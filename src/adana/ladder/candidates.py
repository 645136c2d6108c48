"""What is compared: an optimizer by name, or with values of its own, `adana:kappa=0.9,omega=8`."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from adana.ladder.learning_rates import Rate
from adana.optim import StateDtype
from adana.train import (
    HYPERPARAMETERS,
    OptimizerConfig,
    TrainConfig,
    build_optimizer,
    optimizer_entry,
)

CHECKED_STEPS = 10**6
"""Steps of the training that values are tried for."""


@dataclass(frozen=True)
class Candidate:
    """An optimizer, and what was given for it alone."""

    name: str
    """Of the optimizer."""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of `OptimizerConfig`."""

    @property
    def label(self) -> str:
        """How reports call it, and what reads as the same candidate again."""
        given = ",".join(f"{key}={_text(value)}" for key, value in self.values.items())
        return f"{self.name}:{given}" if given else self.name

    def config(self, lr: float) -> OptimizerConfig:
        """Return its configuration at a peak learning rate."""
        return OptimizerConfig(self.name, lr, label=self.label, **self.values)


def candidate(text: str) -> Candidate:
    """Read what was typed: a name, or `NAME:KEY=VALUE,KEY=VALUE`.

    >>> candidate("adana:kappa=0.90,omega=8").label
    'adana:kappa=0.9,omega=8'

    Raises:
        ValueError: the optimizer is unknown or does not read the key, or a value is none.
    """
    name, _, given = text.partition(":")
    entry = optimizer_entry(name)
    known = ["omega", *(key for key in HYPERPARAMETERS if key in entry.reads)]
    known += ["state_dtype"] if entry.coded else []
    values: dict[str, Any] = {}
    for item in given.split(",") if ":" in text else ():
        key, _, value = item.partition("=")
        key = key.strip().replace("-", "_")
        if key == "lr":
            raise ValueError(f"{text!r}: learning rates are given apart, as --lr {name}:...=VALUE")
        if key not in known or key in values:
            why = "is given twice" if key in values else f"is nothing that {name} reads"
            raise ValueError(
                f"{text!r}: {key!r} {why}. Write {name}:KEY=VALUE,KEY=VALUE with keys of "
                f"{', '.join(known)}"
            )
        values[key] = _value(text, key, value.strip())
    return Candidate(name, values)


def labels(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of what was typed, in order.

    Raises:
        ValueError: one cannot be read or has a value that its optimizer refuses, or two are the
            same.
    """
    found = [(text, candidate(text)) for text in texts]
    refuse_equal((text, own.config(1.0)) for text, own in found)
    for text, own in found:
        if own.values:
            _check_values(text, own)
    return tuple(own.label for _, own in found)


def refuse_equal(named: Iterable[tuple[str, OptimizerConfig]]) -> None:
    """Raise `ValueError` where two are the same but for their names and learning rates.

    A copy would count as runs of its own wherever noise is measured.
    """
    seen: dict[Any, str] = {}
    for text, config in named:
        key = repr(_effective(config))
        if key in seen:
            raise ValueError(f"{text} is named twice: it is the same as {seen[key]}; leave one out")
        seen[key] = text


def _check_values(text: str, own: Candidate) -> None:
    """Raise `ValueError` for values that the optimizer refuses, before anything is trained."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of so small a model
            build_optimizer(nn.Linear(1, 1), own.config(1e-9), CHECKED_STEPS)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error


def _effective(config: OptimizerConfig) -> OptimizerConfig:
    """Return what an optimizer does, whoever gave its values, at a rate of 1 and without a name."""
    entry = optimizer_entry(config.name)
    known: dict[str, Any] = {
        name: x for name, x in entry.defaults.items() if getattr(config, name) is None
    }
    state_dtype = None if config.state_dtype == "fp32" else config.state_dtype
    return dataclasses.replace(config, lr=1.0, label="same", state_dtype=state_dtype, **known)


def with_optimizer(base: TrainConfig, label: str, rate: Rate) -> TrainConfig:
    """Return `base` with another candidate at its own peak learning rate.

    Hyperparameters that it has no value for are those of `base`, where it reads them.
    """
    own = candidate(label)
    entry = optimizer_entry(own.name)
    # What the optimizer does not read must not make another run of it.
    unread = set(HYPERPARAMETERS) - set(entry.reads)
    default = OptimizerConfig(own.name, rate.lr)
    unread |= set() if entry.coded else {"state_dtype"}
    unused = {field: getattr(default, field) for field in sorted(unread)}
    optimizer = dataclasses.replace(
        base.optimizer,
        **{"name": own.name, "label": own.label, "code": None, "lr": rate.lr, **unused},
        **own.values,
    )
    provenance = {**base.provenance, "lr": rate.source}
    return dataclasses.replace(base, optimizer=optimizer, provenance=provenance)


def _text(value: Any) -> str:
    """Return the shortest text that reads as the same value."""
    if isinstance(value, str):
        return value
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _value(text: str, key: str, value: str) -> Any:
    """Return the value of a key, of the type that it has."""
    if key == "state_dtype":
        if value not in get_args(StateDtype):
            raise ValueError(f"{text!r}: {key} is one of {', '.join(get_args(StateDtype))}")
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r}: {key} takes a number, got {value!r}")
    return number
