"""Checks of hyperparameters: errors that name the thing and say what was expected."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any


def check_range(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
    finite: bool = True,
) -> None:
    """Raise `ValueError` unless `value` is a number in the interval; infinite if not `finite`."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and (math.isfinite(value) or (not finite and value == math.inf)):
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        if above and below:
            return
    left = "(" if low_open or low == -math.inf else "["
    right = ")" if high_open or (finite and high == math.inf) else "]"
    kind = "finite number" if finite else "number"
    raise ValueError(f"{name} must be a {kind} in {left}{low:g}, {high:g}{right}, got {value!r}")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {known}, got {value!r}")


def check_flag(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is True or False: text such as "no" would count as True."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_integer(name: str, value: Any, *, low: int, high: int | None = None) -> None:
    """Raise `ValueError` unless `value` is an integer of at least `low`, and at most `high`."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        most = "" if high is None else f" and at most {high}"
        raise ValueError(f"{name} must be an integer of at least {low}{most}, got {value!r}")


def check_betas(betas: Any) -> None:
    """Raise `ValueError` unless `betas` are two numbers in [0, 1)."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {betas!r}")
    for i, beta in enumerate(betas, start=1):
        check_range(f"beta{i}", beta, low=0.0, high=1.0, high_open=True)
