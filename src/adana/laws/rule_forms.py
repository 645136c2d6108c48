"""The shapes that a rule for a hyperparameter may have, as functions of the size of a training.

A rule says what the best learning rate (or another hyperparameter) is at a size nobody has tuned.
Each shape here is one that somebody uses; which of them the data support is the business of
`adana.laws.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """How large a training is."""

    non_embedding: float
    """P, parameters without embedding and head."""
    parameters: float
    """N, all parameters."""
    tokens: float
    """D, tokens trained on."""
    width: float
    """Width of the model."""

    def __post_init__(self) -> None:
        numbers = (self.non_embedding, self.parameters, self.tokens, self.width)
        if not all(np.isfinite(x) and x > 0 for x in numbers):
            raise ValueError(f"a scale needs four positive finite numbers, got {self}")

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.tokens / self.parameters


@dataclass(frozen=True)
class Scales:
    """Several scales, as arrays."""

    p: Floats
    n: Floats
    d: Floats
    width: Floats

    @staticmethod
    def of(scales: Sequence[Scale]) -> Scales:
        """Collect scales into arrays."""
        columns = ("non_embedding", "parameters", "tokens", "width")
        return Scales(*(np.array([float(getattr(s, c)) for s in scales]) for c in columns))

    def take(self, rows: NDArray[np.integer]) -> Scales:
        """Return the scales at these indices."""
        return Scales(self.p[rows], self.n[rows], self.d[rows], self.width[rows])


@dataclass(frozen=True)
class Form:
    """One shape of rule."""

    name: str
    formula: str
    """As people write it; the words are those of the glossary."""
    parameters: tuple[str, ...]
    log_value: Callable[[Values, Scales], Floats]
    """Logarithm of the hyperparameter at each scale, given the parameters by name."""
    source: str
    """Who uses it."""
    nested: str = ""
    """The form that this is without `extra`; empty if there is none."""
    extra: str = ""
    """The parameter that it has beyond `nested`."""

    def __call__(self, values: Values, scale: Scale) -> float:
        """Return the hyperparameter that the rule gives at a scale."""
        with np.errstate(over="ignore"):  # infinity says it
            return float(np.exp(self.log_value(values, Scales.of([scale]))[0]))


def _constant(v: Values, s: Scales) -> Floats:
    return np.log(v["a"]) + 0.0 * s.p


def _width(v: Values, s: Scales) -> Floats:
    return np.log(v["a"]) - np.log(s.width)


def _power(v: Values, s: Scales) -> Floats:
    return np.log(v["a"]) + v["d"] * np.log(s.p)


def _shifted(v: Values, s: Scales) -> Floats:
    return np.log(v["a"]) + v["d"] * np.log(v["b"] + s.p)


def _size_tokens(v: Values, s: Scales) -> Floats:
    return np.log(v["a"]) - v["A"] * np.log(s.n) - v["B"] * np.log(s.d)


def _offset(v: Values, s: Scales) -> Floats:
    return np.logaddexp(_size_tokens(v, s), np.log(max(v["c"], np.finfo(float).tiny)))


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("constant", "a", ("a",), _constant, "one value for all sizes"),
        Form("width", "a / width", ("a",), _width, "marin issue 725: lr x width = const"),
        Form("power", "a P^d", ("a", "d"), _power, "a plain power law", "constant", "d"),
        Form(
            *("shifted", "a (b + P)^d", ("a", "b", "d"), _shifted),
            *("the laws published with ADana, arXiv 2602.05298", "power", "b"),
        ),
        Form(
            *("size-tokens", "a N^-A D^-B", ("a", "A", "B"), _size_tokens),
            "a power law in both",
        ),
        Form(
            *("size-tokens-offset", "a N^-A D^-B + c", ("a", "A", "B", "c"), _offset),
            *("arXiv 2509.02046, phase III", "size-tokens", "c"),
        ),
    )
}
"""Every form by name, the simplest first."""


def find_form(name: str) -> Form:
    """Return the form called `name`; `ValueError` lists the known ones."""
    if name not in FORMS:
        known = "; ".join(f"{form.name}: {form.formula}" for form in FORMS.values())
        raise ValueError(f"unknown form of rule {name!r}, expected one of {known}")
    return FORMS[name]
