"""What the tests of the optax port share; without jax they are skipped, and say so."""

import functools
import math

import pytest

from adana import schedules

WITHOUT_JAX = "needs the extra jax: pip install 'adana[jax]'"
jax = pytest.importorskip("jax", reason=WITHOUT_JAX)
optax = pytest.importorskip("optax", reason=WITHOUT_JAX)

import jax.numpy as jnp  # noqa: E402

from adana import optax as ao  # noqa: E402

T = 100
CONFIGURATIONS = {
    "adana": functools.partial(ao.adana, total_steps=T),
    "adana-released": functools.partial(ao.adana, variant="released", momentum_scale=0.5),
    "adana-first-step-0": functools.partial(ao.adana, kappa=0.75, first_step=0),
    "adana-short-average": functools.partial(ao.adana, gradient="average", beta2=0.999),
    "dana-mk4": functools.partial(ao.dana_mk4, clip_snr=0.5),
    "dana-star": functools.partial(ao.dana_star, grad_clip_snr=2.0),
    "dana-star-mk4": functools.partial(ao.dana_star_mk4, variant="released", total_steps=T),
    "log-adamw": functools.partial(ao.log_adamw, total_steps=T, decay_order="after"),
    "ademamix": functools.partial(ao.ademamix, total_steps=T, decay="log-time"),
    "log-ademamix": functools.partial(ao.log_ademamix, total_steps=T),
    "log-muon": functools.partial(ao.log_muon, total_steps=T),
}
"""Name -> a function from the learning rate to an optimizer with weight decay."""


def x64():
    """A context in which jax computes in float64 where asked to."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # noqa: PLC0415 - gone from newer releases

    return enable_x64()


def warmup_cosine(peak, total_steps, warmup_steps):
    """A learning rate of the count from 0, in the widest float type that jax has on."""

    def learning_rate(count):
        t = jnp.asarray(count, float) + 1
        return peak * schedules.warmup_cosine(t, total_steps, warmup_steps)

    return learning_rate


def run(optimizer, params, grads):
    """Apply gradients stacked along their first axis; return the parameters after each step."""

    def step(carry, g):
        params, state = carry
        updates, state = optimizer.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda p, g: jax.lax.scan(step, (p, optimizer.init(p)), g)[1])(params, grads)


def gradients(params, steps, seed=0):
    """Random gradients for a tree of parameters, stacked along the first axis."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [
        jax.random.normal(key, (steps, *p.shape), jnp.float32).astype(p.dtype)
        for key, p in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


def close(a, b, tolerance):
    """Whether two trees agree relative to the largest value of each tensor."""

    def leaf(x, y):
        size = max(float(jnp.max(jnp.abs(y))), math.ulp(1.0)) if y.size else 1.0
        return bool(jnp.all(jnp.abs(x - y) <= tolerance * size))

    return all(jax.tree.leaves(jax.tree.map(leaf, a, b)))
