"""Hyperparameters are checked where they are Python numbers; traced ones pass unseen."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import numpy as np

from adana import checks


def known(value: Any) -> bool:
    """Whether `value` is a number now, rather than an array or a value traced by JAX."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def check_range(name: str, value: Any, **interval: Any) -> None:
    """Raise `ValueError` unless `value` is a number in the interval, or a 0-d array of any value.

    Arrays are let through because `optax.inject_hyperparams`, `jax.jit` and `jax.vmap` replace
    hyperparameters by arrays whose values are not known while the program is traced. The interval
    is given as for `adana.checks.check_range`.
    """
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0:
        return
    checks.check_range(name, value, **interval)


def check_betas(betas: Any) -> None:
    """Raise `ValueError` unless `betas` are two numbers in [0, 1), or arrays."""
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {betas!r}")
    for i, beta in enumerate(betas, start=1):
        check_range(f"beta{i}", beta, low=0.0, high=1.0, high_open=True)
