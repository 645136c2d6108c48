"""The update of the whole family, once; its members differ in the schedules they pass to it.

Everything that depends on time is computed once a step, in JAX's default float type, from a counter
kept in the state; so nothing is compiled again when the step, or a hyperparameter that
`optax.inject_hyperparams` traces, changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adana import schedules
from adana.checks import check_flag
from adana.optax.checks import check_first_step, check_range, check_schedule
from adana.schedules import Schedule


class LogTimeState(NamedTuple):
    """State of `scale_by_schedules`: trees shaped as the parameters, None where unused."""

    count: Any
    """Number of updates done, 0-d int32."""
    m: Any = None
    """Momentum: the long average of gradients."""
    v: Any = None
    """Average of squared gradients."""
    tau: Any = None
    """Activity estimate of the Star variants."""
    fast: Any = None
    """Fast average of gradients, where one takes the gradient's place."""


class _Numbers(NamedTuple):
    """The numbers of one update at one step, 0-d; None leaves a part of the update out."""

    t: Any
    ema_m: Any
    input_m: Any
    ema_v: Any
    root: Any
    ema_fast: Any
    gradient: Any
    alpha: Any
    extra_momentum: Any
    momentum_scale: Any
    clip_snr: Any
    grad_clip_snr: Any
    eps: Any


def scale_by_schedules(
    *,
    ema_m: Schedule,
    alpha: Schedule,
    input_m: Schedule | None = None,
    ema_v: Schedule | None = None,
    root: Schedule | None = None,
    ema_fast: Schedule | None = None,
    gradient: Schedule | float | None = 1.0,
    star: bool = False,
    extra_momentum: float = 0.0,
    momentum_scale: Schedule | float = 1.0,
    clip_snr: float | None = None,
    grad_clip_snr: float | None = None,
    eps: float = schedules.EPS,
    first_step: int = 1,
) -> optax.GradientTransformation:
    r"""Rescale gradients by the update of the log-time family, with any schedules.

    At step t (from 1), elementwise, with all schedules evaluated at t::

        m     <- m + ema_m (g - m)                       or, with input_m: m - ema_m m + input_m g
        v     <- v + ema_v (g^2 - v)
        fast  <- fast + ema_fast (g - fast)
        D      = root sqrt(v) + eps                      1 without ema_v
        fresh  = gradient * g                            fast in place of g with ema_fast
        damped = alpha(t) m / D                          clipped to [-clip_snr, clip_snr]
        u      = fresh / D + momentum_scale (damped + extra_momentum m / D)

    `star=True` estimates how often each coordinate is active (spec/optimizers.md section 3)::

        tau   <- tau + ema_v (|g| / (|g| + D) - tau)
        r      = max(min(tau, 1/2) / (1 - min(tau, 1/2)), 1 / (1 + t))
        q      = max(tau t, 1)

    divides by `D / sqrt(r)` in place of `D`, evaluates `alpha` at the effective time q of each
    coordinate and clips `damped` to `clip_snr * r`.

    Args:
        ema_m: t -> weight of the newest gradient in m.
        alpha: t -> multiplier on m.
        input_m: t -> factor on a gradient entering m, if that is not `ema_m`; 1 gives the
            unnormalised buffer of classical momentum.
        ema_v: t -> weight of the newest square in v. None: no second moment and no division.
        root: t -> multiplier on sqrt(v), a bias correction. None: 1.
        ema_fast: t -> weight of the newest gradient in the fast average. None: g itself.
        gradient: multiplier on the gradient term, or a schedule of it; None leaves the term out.
        star: estimate the activity of coordinates. Needs `ema_v`.
        extra_momentum: undamped momentum added after clipping (the spec's c).
        momentum_scale: factor on the whole momentum part (the reference's gamma_3), or a schedule
            of it.
        clip_snr: bound of the momentum's signal-to-noise ratio. None: no bound.
        grad_clip_snr: bound of the gradient's, `|g| sqrt(r) / sqrt(v)`. None: no bound.
        eps: added to sqrt(v), outside the root.
        first_step: index of the first step in `ema_m`, `ema_v` and `alpha` (but not in q): 1 or 0.

    Returns:
        A transformation whose updates point uphill, as all `optax.scale_by_*` do. Averages and
        updates are float32, or the parameter's dtype if that is wider: `optax.apply_updates` then
        rounds parameters of 16 bits once. State: `LogTimeState`.

    Raises:
        ValueError: a number is out of range, `star` or `grad_clip_snr` without `ema_v`, or
            (at `init`) complex parameters.
    """
    for name, schedule in (("ema_m", ema_m), ("alpha", alpha)):
        check_schedule(name, schedule)
    optional = {"input_m": input_m, "ema_v": ema_v, "root": root, "ema_fast": ema_fast}
    for name, value in optional.items():
        check_schedule(name, value, optional=True)
    check_schedule("gradient", gradient, number=True, optional=True)
    check_flag("star", star)
    if ema_v is None and (star or grad_clip_snr is not None):
        raise ValueError("star=True and grad_clip_snr need a second moment: pass ema_v")
    check_range("eps", eps, low=0.0)
    check_range("extra_momentum", extra_momentum, low=0.0)
    if not callable(momentum_scale):
        check_range("momentum_scale", momentum_scale, low=0.0)
    for name, clip in (("clip_snr", clip_snr), ("grad_clip_snr", grad_clip_snr)):
        if clip is not None:
            check_range(name, clip, low=0.0, low_open=True, finite=False)
    check_first_step(first_step)

    def numbers(count: jax.Array) -> _Numbers:
        t = count.astype(float)
        index = t - 1 + first_step
        return _Numbers(
            t=t,
            ema_m=ema_m(index),
            input_m=_at(input_m, index),
            ema_v=_at(ema_v, index),
            root=_at(root, t),
            ema_fast=_at(ema_fast, t),
            gradient=_at(gradient, t),
            alpha=None if star else alpha(index),
            extra_momentum=extra_momentum,
            momentum_scale=_at(momentum_scale, t),
            clip_snr=clip_snr,
            grad_clip_snr=grad_clip_snr,
            eps=eps,
        )

    names = [
        name
        for name, used in (
            ("m", True),
            ("v", ema_v is not None),
            ("tau", star),
            ("fast", ema_fast is not None),
        )
        if used
    ]

    def init(params: optax.Params) -> LogTimeState:
        empty = LogTimeState(jnp.zeros((), jnp.int32))
        return empty._replace(**{name: jax.tree.map(_zeros, params) for name in names})

    def update(
        grads: optax.Updates, state: LogTimeState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LogTimeState]:
        del params
        count = optax.safe_int32_increment(state.count)
        now = numbers(count)

        def leaf(g: Any, *averages: Any) -> tuple[Any, ...]:
            old = dict(zip(names, averages, strict=True))
            return _update_leaf(g, old, now, alpha if star else None)

        results = jax.tree.map(leaf, grads, *(getattr(state, name) for name in names))

        def part(i: int) -> Any:
            return jax.tree.map(lambda _, result: result[i], grads, results)

        new = {name: part(i) for i, name in enumerate(names, start=1)}
        return part(0), state._replace(count=count, **new)

    return optax.GradientTransformation(init, update)


def _zeros(p: Any) -> jax.Array:
    """Zeros of the shape of `p` in float32, or in its own dtype if that is wider."""
    if jnp.iscomplexobj(p):
        raise ValueError(
            f"complex parameters are not supported (got one of shape {jnp.shape(p)}); "
            "wrap the optimizer in optax.contrib.split_real_and_imaginary"
        )
    return jnp.zeros_like(p, dtype=jnp.promote_types(jnp.result_type(p), jnp.float32))


def _at(schedule: Schedule | float | None, time: Any) -> Any:
    return schedule(time) if callable(schedule) else schedule


def _update_leaf(
    g: Any, old: dict[str, Any], now: _Numbers, star_alpha: Schedule | None
) -> tuple[Any, ...]:
    """Return one tensor's update and new averages; `scale_by_schedules` has the maths."""
    dtype = old["m"].dtype
    g = jnp.asarray(g, dtype)
    now = jax.tree.map(lambda x: jnp.asarray(x, dtype), now)
    new = {}
    if now.input_m is None:
        new["m"] = old["m"] + now.ema_m * (g - old["m"])
    else:
        new["m"] = old["m"] - now.ema_m * old["m"] + now.input_m * g

    denominator, activity, alpha = jnp.ones((), dtype), jnp.ones((), dtype), now.alpha
    if "v" in old:
        new["v"] = old["v"] + now.ema_v * (g * g - old["v"])
        root = 1 if now.root is None else now.root
        denominator = root * jnp.sqrt(new["v"]) + now.eps
    if star_alpha is not None:
        sample = jnp.abs(g) / (jnp.abs(g) + denominator)
        new["tau"] = old["tau"] + now.ema_v * (sample - old["tau"])
        activity = _activity(new["tau"], now.t)
        alpha = jnp.asarray(star_alpha(jnp.maximum(new["tau"] * now.t, 1)), dtype)
    weight = jnp.sqrt(activity)

    steady = weight * (new["m"] / denominator)
    momentum = alpha * steady
    if now.clip_snr is not None:
        bound = now.clip_snr * activity
        momentum = jnp.clip(momentum, -bound, bound)
    u = now.momentum_scale * (momentum + now.extra_momentum * steady)
    fresh = g
    if "fast" in old:
        fresh = new["fast"] = old["fast"] + now.ema_fast * (g - old["fast"])
    if now.grad_clip_snr is not None:
        ratio = now.grad_clip_snr * jnp.sqrt(new["v"]) / (weight * jnp.abs(fresh) + now.eps)
        fresh = fresh * jnp.minimum(1, ratio)
    if now.gradient is not None:
        u = now.gradient * weight * (fresh / denominator) + u
    return u, *(new[name] for name in old)


def _activity(tau: jax.Array, t: jax.Array) -> jax.Array:
    """Estimate the probability that a coordinate is active, at least 1 / (1 + t)."""
    capped = jnp.minimum(tau, 0.5)
    return jnp.maximum(capped / (1 - capped), 1 / (1 + t))
