"""How a building block becomes an optimizer: learning rate, then weight decay at its multiplier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from adana import schedules
from adana.optax.checks import check_range, known
from adana.optax.decay import Decay, DecayOrder, Mask, add_weight_decay, decay_schedule
from adana.schedules import Schedule

LearningRate = float | Callable[[Any], Any]
"""A number, or as optax's schedules a function of the count of updates done (from 0)."""


def optimizer(
    block: optax.GradientTransformation,
    learning_rate: LearningRate,
    *,
    peak_lr: float | None,
    decay: Decay,
    omega: float,
    total_steps: float | None,
    decay_offset: float | None,
    decay_order: DecayOrder,
    mask: Mask,
) -> optax.GradientTransformation:
    """Chain a building block with the learning rate and with independent weight decay.

    To be called by the functions that people call, behind `explain_unknown_arguments`.
    """
    check_learning_rate(learning_rate)
    return optax.chain(
        block,
        optax.scale_by_learning_rate(learning_rate),
        add_weight_decay(
            decay_schedule(decay, omega, total_steps, decay_offset, stacklevel=4),
            gamma=_gamma(learning_rate, peak_lr),
            decay_order=decay_order,
            mask=mask,
        ),
    )


def cooled_down(
    momentum_scale: float, momentum_cooldown: float, total_steps: float | None
) -> Schedule | float:
    """Return `momentum_scale`, or a schedule of it that falls to 0 at the end of training."""
    check_range("momentum_scale", momentum_scale, low=0.0)
    check_range("momentum_cooldown", momentum_cooldown, low=0.0, high=1.0)
    if known(momentum_cooldown) and momentum_cooldown == 0:
        return momentum_scale
    if total_steps is None:
        # Traced, the default 0 looks like any other value; what cannot raise must still be loud.
        if isinstance(momentum_cooldown, jax.core.Tracer) or momentum_cooldown == 0:
            traced: Any = jnp.where(momentum_cooldown > 0, jnp.nan, momentum_scale)
            return traced
        raise ValueError("momentum_cooldown is a fraction of total_steps: pass total_steps")
    steps = momentum_cooldown * total_steps
    return lambda t: momentum_scale * schedules.momentum_cooldown(t, total_steps, steps)


def check_learning_rate(learning_rate: LearningRate) -> None:
    """Raise `ValueError` for a learning rate that is negative or no number."""
    if not callable(learning_rate):
        check_range("learning_rate", learning_rate, low=0.0)


def _gamma(learning_rate: LearningRate, peak_lr: float | None) -> Any:
    """Return the learning-rate multiplier, `learning_rate / peak_lr`: a number or a schedule.

    What is not known before the step is cut off at 0 and 1, since traced code cannot raise.
    """
    if peak_lr is None:
        if known(learning_rate):
            return 1.0
        kind = "a schedule" if callable(learning_rate) else "a traced or array value"
        raise ValueError(
            f"the learning rate is {kind}, so its peak is not known, and weight decay scales with "
            "learning_rate / peak_lr: pass the highest learning rate of the run as peak_lr"
        )
    check_range("peak_lr", peak_lr, low=0.0, low_open=True)
    if callable(learning_rate):
        schedule = learning_rate
        return lambda count: jnp.clip(schedule(count) / peak_lr, 0.0, 1.0)
    highest = peak_lr * (1 + schedules.PEAK_TOLERANCE)
    if known(learning_rate) and known(peak_lr) and learning_rate > highest:
        raise ValueError(
            f"the learning rate {learning_rate:g} is above peak_lr={peak_lr:g}; "
            "peak_lr is the highest learning rate of the run"
        )
    gamma = learning_rate / peak_lr
    return min(gamma, 1.0) if known(gamma) else jnp.clip(gamma, 0.0, 1.0)
