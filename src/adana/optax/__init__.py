"""The log-time optimizers for JAX, as optax gradient transformations.

The same updates as the torch classes, from the same schedules (`adana.schedules`). Each optimizer
is a chain that can be taken apart: a building block `scale_by_...`, optax's learning rate, and
`add_log_time_decay`, which also works behind any other optax optimizer.

Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from adana import schedules
    >>> from adana.optax import adana, decay_mask
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> def loss(params):
    ...     return jnp.sum((params["kernel"].sum(axis=0) + params["bias"] - 1.0) ** 2)
    >>> steps, peak = 100, 0.05
    >>> optimizer = adana(
    ...     lambda count: peak * schedules.warmup_cosine(count + 1, steps, warmup_steps=2),
    ...     peak_lr=peak,
    ...     total_steps=steps,
    ...     mask=decay_mask,
    ... )
    >>> @jax.jit
    ... def step(params, state):
    ...     updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    ...     return optax.apply_updates(params, updates), state
    >>> state = optimizer.init(params)
    >>> before = loss(params)
    >>> for _ in range(steps):
    ...     params, state = step(params, state)
    >>> bool(loss(params) < 0.01 * before)
    True

Needs the extra `jax`: `pip install 'adana[jax]'`.
"""

try:
    import jax as _jax  # noqa: F401 - here for the error
    import optax as _optax  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'adana.optax needs {error.name}, which is not installed: pip install "adana[jax]"',
        name=error.name,
    ) from error

from adana.optax.baselines import ademamix, dana, log_adamw, log_ademamix
from adana.optax.blocks import (
    scale_by_adana,
    scale_by_ademamix,
    scale_by_constant_betas,
    scale_by_dana,
    scale_by_dana_star,
    scale_by_log_ademamix,
)
from adana.optax.decay import (
    DecayState,
    add_log_time_decay,
    add_weight_decay,
    decay_mask,
)
from adana.optax.family import adana, dana_mk4, dana_star, dana_star_mk4
from adana.optax.log_muon import log_muon, muon_mask, scale_by_log_muon
from adana.optax.update import LogTimeState, scale_by_schedules

__all__ = [
    "DecayState",
    "LogTimeState",
    "adana",
    "add_log_time_decay",
    "add_weight_decay",
    "ademamix",
    "dana",
    "dana_mk4",
    "dana_star",
    "dana_star_mk4",
    "decay_mask",
    "log_adamw",
    "log_ademamix",
    "log_muon",
    "muon_mask",
    "scale_by_adana",
    "scale_by_ademamix",
    "scale_by_constant_betas",
    "scale_by_dana",
    "scale_by_dana_star",
    "scale_by_log_ademamix",
    "scale_by_log_muon",
    "scale_by_schedules",
]
