"""What is compared: an optimizer by name, or with values of its own, `adana:kappa=0.9,omega=8`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from adana.ladder.learning_rates import Rate
from adana.optim import StateDtype
from adana.train import HYPERPARAMETERS, OptimizerConfig, TrainConfig, optimizer_entry


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
        ValueError: one cannot be read, or two are the same.
    """
    found: dict[str, Candidate] = {}
    for text in texts:
        own = candidate(text)
        if own in found.values():
            raise ValueError(f"{text} is named twice; name each candidate once")
        found[own.label] = own
    return tuple(found)


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
    return value if isinstance(value, str) else f"{value:.12g}"


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
