"""How much weight decay each optimizer had at its chosen learning rate, as its run recorded it.

Without it a difference between optimizers may be one of decay: what they remove depends on omega,
on the steps and, for decay coupled to the learning rate, on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adana.report import words
from adana.report.choice import Choice
from adana.report.records import number
from adana.report.tables import Column


def decay_of(choice: Choice) -> Mapping[str, Any]:
    """Return what `summary.json` says of weight decay; empty where it says nothing."""
    finished = choice.chosen.finished if choice.chosen else ()
    found = finished[0].summary.get("weight_decay") if finished else None
    return found if isinstance(found, Mapping) else {}


def with_decay(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Return the choices whose runs tell their weight decay."""
    return tuple(choice for choice in choices if decay_of(choice))


def _value(key: str, moment: str | None = None) -> Callable[[Choice], float | None]:
    def value(choice: Choice) -> float | None:
        found = decay_of(choice)
        inner = found if moment is None else found.get(moment) or {}
        return number(inner, key)

    return value


NUMBERS = {
    "omega": _value("omega"),
    "lr_wd_T": _value("lr_wd_T"),
    "total": _value("total"),
    "tau_steps_peak": _value("tau_steps", "peak"),
    "tau_steps_end": _value("tau_steps", "end"),
    "tau_epochs_peak": _value("tau_epochs", "peak"),
}
"""Numbers of a row, by their name in files."""


def _column(title: str, text: str, key: str) -> Column:
    return Column(title, text, lambda choice: words.short(NUMBERS[key](choice)))


DECAY = (
    Column("optimizer", "label in the configuration", lambda c: c.label, number=False),
    Column("size", "parameters without embeddings", lambda c: c.scale.name),
    Column("kind", "how decay changes with the step", lambda c: str(decay_of(c).get("kind", ""))),
    _column("omega", "strength: lr times weight_decay times T of AdamW", "omega"),
    _column("lr wd T", "sum of the decay over the run, before the schedule gamma", "lr_wd_T"),
    _column("removed", "the same with gamma: initial weights fade by e to minus this", "total"),
    _column("tau", "timescale in steps at the peak learning rate", "tau_steps_peak"),
    _column("tau end", "timescale in steps at the last step", "tau_steps_end"),
    _column("epochs", "tau at the peak in passes over the training data", "tau_epochs_peak"),
)


def decay_data(choice: Choice) -> dict[str, Any]:
    """Return a row as numbers."""
    scale = choice.scale
    return {
        "optimizer": choice.label,
        "parameters": scale.parameters,
        "steps": scale.steps,
        "kind": decay_of(choice).get("kind"),
        **{name: value(choice) for name, value in NUMBERS.items()},
    }
