"""Hyperparameters are checked where they are Python numbers; traced ones pass unseen."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def known(value: Any) -> bool:
    """Whether `value` is a number now, rather than an array or a value traced by JAX."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


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
    """Raise `ValueError` unless `value` is a number in the interval, or a 0-d array of any value.

    Arrays are let through because `optax.inject_hyperparams`, `jax.jit` and `jax.vmap` replace
    hyperparameters by arrays whose values are not known while the program is traced.
    """
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0:
        return
    if known(value) and (math.isfinite(value) or (not finite and value == math.inf)):
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        if above and below:
            return
    left = "(" if low_open or low == -math.inf else "["
    right = ")" if high_open or high == math.inf else "]"
    raise ValueError(
        f"{name} must be a {'finite ' if finite else ''}number in {left}{low:g}, {high:g}{right}, "
        f"got {value!r}"
    )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}")


def check_betas(betas: Any) -> None:
    """Raise `ValueError` unless `betas` is a pair of numbers in [0, 1)."""
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {betas!r}")
    for i, beta in enumerate(betas, start=1):
        check_range(f"beta{i}", beta, low=0.0, high=1.0, high_open=True)
