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
    if is_array(value) and value.ndim == 0:
        return
    checks.check_range(name, value, **interval)


def check_betas(betas: Any) -> None:
    """Raise `ValueError` unless `betas` are two numbers in [0, 1), or 0-d arrays."""
    pair = isinstance(betas, tuple | list) or np.shape(betas) == (2,)
    if not pair or len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {betas!r}")
    for i, beta in enumerate(betas, start=1):
        check_range(f"beta{i}", beta, low=0.0, high=1.0, high_open=True)


def check_schedule(name: str, value: Any, *, number: bool = False, optional: bool = False) -> None:
    """Raise `ValueError` unless `value` is a function, or (if allowed) a number or None."""
    if callable(value) or (optional and value is None):
        return
    if number and (known(value) or (is_array(value) and value.ndim == 0)):
        return
    expected = "a function of the step" + " or a number" * number + " or None" * optional
    raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_first_step(value: Any) -> None:
    """Raise `ValueError` unless `value` is 0 or 1, or a 0-d array."""
    check_range("first_step", value)
    if known(value) and value not in (0, 1):
        raise ValueError(f"first_step must be 0 or 1, got {value!r}")


def check_mask(mask: Any) -> None:
    """Raise `ValueError` unless `mask` is None, a function or a tree of booleans."""
    if callable(mask):
        return
    none = isinstance(mask, bool | np.bool_) and not mask
    if none or is_array(mask):  # a function's, called with a count in place of parameters
        raise ValueError(
            f"mask is {mask!r}, not a tree of booleans. optax.inject_hyperparams takes a mask that "
            "is a function for a schedule: name it in static_args=('mask',). For no decay at all "
            "pass omega=0"
        )
    for leaf in jax.tree.leaves(mask):
        boolean = isinstance(leaf, bool) or getattr(leaf, "dtype", None) == np.bool_
        if not boolean:
            raise ValueError(
                "mask must be a tree of booleans shaped as the parameters (or a prefix of it), or "
                f"a function of the parameters returning one; got a leaf {leaf!r}"
            )


def is_array(value: Any) -> bool:
    """Whether `value` is an array of JAX or numpy, traced or not."""
    return isinstance(value, jax.Array | np.ndarray)
