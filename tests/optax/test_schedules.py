"""The shared schedules take values traced by JAX, hyperparameters included."""

import numpy as np
import pytest

from adana import schedules as s

from .common import jax, jnp, x64

SCHEDULES = {
    "ema_weight": (s.ema_weight, (8.0,)),
    "damping": (s.damping, (0.85,)),
    "undamped": (s.undamped, (8.0,)),
    "nesterov": (s.nesterov, (8.0,)),
    "effective_damping": (s.effective_damping, (0.85, 1.0)),
    "momentum_cooldown": (lambda t, *a: s.momentum_cooldown(t, a[0], 20), (100.0,)),
    "default_clip_snr": (lambda t, kappa: s.default_clip_snr(kappa), (0.8,)),
    "ademamix_alpha": (s.ademamix_alpha, (2.0, 100.0)),
    "ademamix_beta": (lambda t, *a: s.ademamix_beta(t, 0.9, *a), (0.92, 100.0)),
    "ademamix_weight": (lambda t, *a: s.ademamix_weight(t, 0.9, *a), (0.08, 100.0)),
    "constant_total_weight": (s.constant_total_weight, (0.999,)),
    "log_time_decay": (s.log_time_decay, (4.0, 10.0)),
    "default_decay_offset": (lambda t, *a: s.default_decay_offset(*a), (4.0, 100.0)),
    "default_decay_offset, short": (lambda t, *a: s.default_decay_offset(*a), (4.0, 20.0)),
    "warmup_cosine": (lambda t: s.warmup_cosine(t, 100, 10), ()),
    "warmup_linear": (lambda t: s.warmup_linear(t, 100, 10), ()),
    "warmup_stable_decay": (lambda t: s.warmup_stable_decay(t, 100, 10), ()),
    "warmup_constant": (lambda t: s.warmup_constant(t, 10), ()),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_traced_values_give_what_floats_give(name):
    schedule, arguments = SCHEDULES[name]
    steps = [1, 5, 10, 11, 60, 95, 100, 120]
    with x64():
        traced = jax.jit(jax.vmap(schedule, in_axes=(0, *(None for _ in arguments))))
        seen = traced(jnp.asarray(steps, jnp.float64), *map(jnp.float64, arguments))
        seen = np.broadcast_to(np.asarray(seen), len(steps))
    for t, value in zip(steps, seen, strict=True):
        assert float(value) == pytest.approx(schedule(t, *arguments), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name.startswith("warmup")])
def test_multipliers_of_a_count_that_nobody_raised_by_one_are_not_negative(name):
    schedule, _ = SCHEDULES[name]
    seen = jax.jit(jax.vmap(schedule))(jnp.arange(120))  # int32, as the counts of optax
    assert seen[0] == 0
    assert bool(jnp.all((seen >= 0) & (seen <= 1)))
