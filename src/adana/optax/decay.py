"""Weight decay that does not depend on the learning rate, for any optax optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adana import schedules
from adana.checks import check_choice
from adana.names import is_matrix
from adana.optax.checks import check_mask, check_range, check_schedule, known
from adana.schedules import Schedule
from adana.strength import check_first_decay, warn_of_strong_decay

Decay = Literal["log-time", "constant"]
DecayOrder = Literal["before", "after"]
Mask = Any
"""A tree of booleans shaped as the parameters (or a prefix of it), or a function returning one."""

EMBEDDING = r"(?i)embed|(^|[/_])emb|(^|/)w[tp]e($|/)"
"""Names of embedding tables: Flax's and Haiku's, and GPT-2's `wte` and `wpe`."""
NORM_OR_BIAS = r"(?i)norm|(^|/)(bias|b|scale|gain)(/value)?$"
"""Names of norms and biases, which are matrices where layers are stacked for `jax.lax.scan`.

Flax ends the paths of boxed parameters in `value`.
"""


class DecayState(NamedTuple):
    """State of `add_weight_decay`."""

    count: Any
    """Number of updates done, 0-d int32."""


def add_weight_decay(
    decay: Schedule,
    *,
    gamma: float | Callable[[Any], Any] = 1.0,
    decay_order: DecayOrder = "before",
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Remove the fraction `gamma * decay(t)` of the weights each step. Last link of a chain.

    With `d = gamma * decay(t)` and the update `-lr u` that comes in (so it stands behind the
    learning rate, which then does not scale the decay), the parameters become::

        p - lr u - d p            decay_order="before": both terms use the old p
        (p - lr u) (1 - d)        decay_order="after"

    Args:
        decay: step t (from 1) -> fraction, for instance of `schedules.log_time_decay`.
        gamma: learning-rate multiplier in [0, 1], which is not the learning rate itself but
            `learning_rate / peak_lr`: a number, or as optax's schedules a function of the count
            (from 0).
        decay_order: "before" (default) or "after".
        mask: which parameters are decayed, as for `optax.adamw`. Default: all of them; see
            `decay_mask` for the usual choice.

    Returns:
        A transformation whose `update` needs the parameters. State: `DecayState`.

    Raises:
        ValueError: an unknown `decay_order`, an argument of the wrong kind, a number `gamma`
            outside [0, 1], or `update` was called without parameters.
    """
    check_schedule("decay", decay)
    check_schedule("gamma", gamma, number=True)
    if not callable(gamma):
        check_range("gamma", gamma, low=0.0, high=1.0 + schedules.PEAK_TOLERANCE)
    check_choice("decay_order", decay_order, ("before", "after"))
    check_mask(mask)

    def init(params: optax.Params) -> DecayState:
        del params
        return DecayState(jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates, state: DecayState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, DecayState]:
        if params is None:
            raise ValueError(
                "weight decay needs the parameters: call optimizer.update(grads, state, params)"
            )
        count = optax.safe_int32_increment(state.count)
        multiplier = gamma(state.count) if callable(gamma) else gamma
        fraction = multiplier * decay(count.astype(float))

        def leaf(u: Any, p: Any) -> jax.Array:
            dtype = jnp.promote_types(jnp.result_type(u), jnp.float32)
            u, p = jnp.asarray(u, dtype), jnp.asarray(p, dtype)
            return u - jnp.asarray(fraction, dtype) * (p if decay_order == "before" else p + u)

        return jax.tree.map(leaf, updates, params), DecayState(count)

    transform = optax.GradientTransformation(init, update)
    return transform if mask is None else optax.masked(transform, mask)


def add_log_time_decay(
    omega: float = schedules.OMEGA,
    *,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    gamma: float | Callable[[Any], Any] = 1.0,
    decay_order: DecayOrder = "before",
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Log-time weight decay for any optax optimizer: remove `gamma omega / (S + t)` each step.

    Args:
        omega: strength, >= 0. Default 4 (arXiv 2602.05298).
        total_steps: planned number of steps T, which sets the default `decay_offset`.
        decay_offset: S in steps. Default `T / 10`; without a horizon `100 * omega`; see
            `schedules.default_decay_offset`.
        gamma, decay_order, mask: as for `add_weight_decay`.

    Raises:
        ValueError: a number is out of range, or the first step would remove a whole weight. Where
            it removes more than a fifth, there is a warning.

    Example, decay behind an optimizer of optax's own with a learning rate of `1e-3 * gamma`:

    >>> import optax
    >>> from adana.optax import add_log_time_decay
    >>> gamma = optax.cosine_decay_schedule(1.0, decay_steps=1000)
    >>> optimizer = optax.chain(
    ...     optax.lion(lambda count: 1e-3 * gamma(count)),
    ...     add_log_time_decay(omega=4.0, total_steps=1000, gamma=gamma),
    ... )
    """
    return add_weight_decay(
        decay_schedule("log-time", omega, total_steps, decay_offset, stacklevel=2),
        gamma=gamma,
        decay_order=decay_order,
        mask=mask,
    )


def decay_schedule(
    decay: Decay,
    omega: float,
    total_steps: float | None,
    decay_offset: float | None,
    *,
    stacklevel: int,
) -> Schedule:
    """Return t -> fraction removed before gamma, with its numbers checked and S resolved.

    Warns where known numbers remove much of the weights at once. `stacklevel` says where the user's
    line is: it counts from the caller, which is 1.
    """
    check_choice("decay", decay, ("log-time", "constant"))
    check_range("omega", omega, low=0.0)
    if total_steps is not None:
        check_range("total_steps", total_steps, low=1.0)
    if decay_offset is not None:
        check_range("decay_offset", decay_offset, low=0.0)
    if decay == "constant":
        return _constant(omega, total_steps, stacklevel + 1)
    if decay_offset is None:
        decay_offset = schedules.default_decay_offset(omega, total_steps)
    if known(omega) and known(decay_offset):
        first = schedules.log_time_decay(1, omega, decay_offset)
        check_first_decay(first, omega, decay_offset)
        warn_of_strong_decay(first, omega, decay_offset, stacklevel=stacklevel + 1)
    return lambda t: schedules.log_time_decay(t, omega, decay_offset)


def _constant(omega: float, total_steps: float | None, stacklevel: int) -> Schedule:
    if total_steps is None:
        raise ValueError("decay='constant' removes omega / total_steps a step: pass total_steps")
    if known(omega) and known(total_steps):
        if omega >= total_steps:
            raise ValueError(
                f"omega={omega} with total_steps={total_steps} would remove whole weights each step"
            )
        each = schedules.constant_decay(omega, total_steps)
        warn_of_strong_decay(each, omega, None, stacklevel=stacklevel + 1)
    return lambda t: schedules.constant_decay(omega, total_steps)


def decay_mask(
    params: optax.Params, *, decay_embeddings: bool = False, no_decay: str | Sequence[str] = ()
) -> Any:
    """Say which parameters the published runs decay: matrices, but not embeddings.

    A parameter is decayed if it has two or more dimensions (not like a class token's, (1, 1,
    width)) and its path (names joined by "/") matches neither `EMBEDDING` nor `NORM_OR_BIAS`. The
    head is decayed (spec/optimizers.md section 0); JAX models name parameters freely, so look at
    the result once.

    Args:
        params: the parameters, or a tree of that shape.
        decay_embeddings: decay embedding tables too.
        no_decay: a regular expression or several; a parameter in whose path one is found is not
            decayed.

    Returns:
        A tree of booleans with the structure of `params`, for `mask=`. The function itself is a
        mask too: `mask=decay_mask`, which is the form that Flax NNX needs.

    Raises:
        ValueError: a pattern of `no_decay` matches no parameter, or is not a regular expression.
            Among some parameters of more (`optax.MaskedNode`) a pattern need not match.

    >>> import jax.numpy as jnp
    >>> params = {"embed": jnp.ones((9, 2)), "kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    >>> decay_mask(params)
    {'bias': False, 'embed': False, 'kernel': True}
    """
    own = check_patterns("no_decay", no_decay, params)
    spared = (*own, NORM_OR_BIAS, *(() if decay_embeddings else (EMBEDDING,)))

    def decayed(path: Any, p: Any) -> bool:
        name = path_name(path)
        matrix = is_matrix(jnp.shape(p))
        return matrix and not any(re.search(pattern, name) for pattern in spared)

    return jax.tree_util.tree_map_with_path(decayed, params)


def check_patterns(
    name: str, patterns: str | Sequence[str], params: optax.Params | None = None
) -> tuple[str, ...]:
    """Return the regular expressions of the argument `name`, each found in a path of `params`."""
    own = (patterns,) if isinstance(patterns, str) else patterns
    if not isinstance(own, tuple | list) or not all(isinstance(pattern, str) for pattern in own):
        raise ValueError(f"{name} must be a regular expression or a list of them, got {patterns!r}")
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for pattern in own:
        try:
            found = any(re.search(pattern, path) for path in paths)
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{name}: {pattern!r} is no regular expression: {error}") from error
        if params is not None and not found and not _has_masked_parts(params):
            raise ValueError(f"{name} pattern {pattern!r} matches no parameter; paths: {paths}")
    return tuple(own)


def _has_masked_parts(params: optax.Params) -> bool:
    """Whether these are some parameters of more: what `optax.multi_transform` gives each member."""
    nodes = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    return any(isinstance(node, optax.MaskedNode) for node in nodes)


def path_name(path: Sequence[Any]) -> str:
    """Join the keys of a path in a tree by slashes, whatever containers it runs through."""
    parts = []
    for key in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                parts.append(str(getattr(key, attribute)))
                break
    return "/".join(parts)
