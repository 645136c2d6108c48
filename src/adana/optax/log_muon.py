"""Log-time Muon for JAX: ADana whose steps on matrices are orthogonalised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from adana import schedules
from adana.checks import check_integer
from adana.names import HEAD_NAMES
from adana.newton_schulz import NS_STEPS, RMS_SCALE
from adana.optax import blocks
from adana.optax.chain import LearningRate, cooled_down, optimizer
from adana.optax.checks import check_range, known
from adana.optax.decay import (
    EMBEDDING,
    NORM_OR_BIAS,
    Decay,
    DecayOrder,
    Mask,
    check_patterns,
    path_name,
)
from adana.optax.orthogonal import Axes, check_muon, matrix_axes
from adana.optax.refusals import explain_unknown_arguments
from adana.optax.update import LogTimeState, scale_by_schedules
from adana.schedules import Schedule

HEAD = rf"^(params/)?(\w+/)?({HEAD_NAMES})(/(kernel|weight|w|embedding))?(/value)?$"
"""Paths of output heads: the usual names, at most one module below the top."""


def muon_mask(params: optax.Params, *, heads: str = HEAD, exclude: str | Sequence[str] = ()) -> Any:
    r"""Say which parameters are matrices of hidden layers, for `log_muon(muon=...)`.

    Those of exactly two dimensions whose path (names joined by "/") is not that of an embedding,
    an output head, a norm or a bias. JAX models name parameters freely (a head may be `Dense_3`):
    look at the result once, and pass `exclude`.

    Args:
        params: the parameters, or a tree of that shape.
        heads: a regular expression for the paths of output heads. Default: the usual names.
        exclude: a regular expression or several; a parameter in whose path one is found is not
            orthogonalised.

    Returns:
        A tree of booleans with the structure of `params`. The function itself is accepted too.

    Raises:
        ValueError: a pattern of `exclude` matches no parameter, or is not a regular expression.
            Among some parameters of more (`optax.MaskedNode`) a pattern need not match.

    >>> import jax.numpy as jnp
    >>> matrix = jnp.ones((2, 2))
    >>> params = {"embed": matrix, "layer": {"kernel": matrix}, "lm_head": {"kernel": matrix}}
    >>> muon_mask(params)
    {'embed': False, 'layer': {'kernel': True}, 'lm_head': {'kernel': False}}
    """
    own = check_patterns("exclude", exclude, params)
    spared = (EMBEDDING, NORM_OR_BIAS, *check_patterns("heads", heads), *own)

    def hidden(path: Any, p: Any) -> bool:
        name = path_name(path)
        return jnp.ndim(p) == 2 and not any(re.search(pattern, name) for pattern in spared)

    return jax.tree_util.tree_map_with_path(hidden, params)


def scale_by_log_muon(
    kappa: float = schedules.KAPPA,
    *,
    delta: float = schedules.DELTA,
    eps: float = schedules.EPS,
    momentum_scale: Schedule | float = 1.0,
    extra_momentum: float = 0.0,
    muon: Any = None,
    ns_steps: int = NS_STEPS,
    rms_scale: float = RMS_SCALE,
    first_step: int = 1,
) -> optax.GradientTransformation:
    """Orthogonalise the log-time Nesterov momentum of matrices, rescale the rest as ADana does.

    On a matrix of r rows and c columns at step t (from 1), with `a(t) = delta / (delta + t)`::

        m <- m + a(t) (g - m)
        u  = rms_scale sqrt(max(r, c)) orthogonal(g + momentum_scale (alpha(t) + extra_momentum) m)

    with `alpha(t) = (1 + t)^(1 - kappa)`; every other leaf gets the update of `scale_by_adana`.

    Args:
        kappa, delta, eps, momentum_scale, extra_momentum, first_step: as for `scale_by_adana`.
        muon: which leaves are matrices: a tree shaped as the parameters (or a prefix of it), or a
            function of the parameters that returns one. Its leaves are True, False (or None), or
            `optax.contrib.MuonDimensionNumbers`, which a leaf of more than two dimensions needs:
            axes named in neither of its fields stack matrices, each orthogonalised alone. True for
            fewer than two dimensions means ADana. Default: `muon_mask`.
        ns_steps: Newton-Schulz iterations, a whole number >= 1. Default 5 (Muon).
        rms_scale: root mean square of a step on a matrix, about. Default 0.2 (the reference).

    Returns:
        As for `scale_by_schedules`. The state has a second moment for ADana's leaves only.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.

    Source: spec/optimizers.md sections 9 and 10.
    """
    if known(ns_steps):
        check_integer("ns_steps", ns_steps, low=1)
    check_range("ns_steps", ns_steps, low=1)
    check_range("rms_scale", rms_scale, low=0.0, low_open=True)
    muon = muon_mask if muon is None else muon
    check_muon(muon)
    shared: dict[str, Any] = {
        "momentum_scale": momentum_scale,
        "extra_momentum": extra_momentum,
        "first_step": first_step,
    }
    adana = blocks.scale_by_adana(kappa, delta=delta, eps=eps, **shared)
    nesterov = scale_by_schedules(
        ema_m=lambda t: schedules.ema_weight(t, delta),
        alpha=lambda t: schedules.damping(t, kappa),
        eps=0.0,
        **shared,
    )

    def init(params: optax.Params) -> LogTimeState:
        axes = matrix_axes(muon, params)
        matrices, rest = _split(axes, params)
        state = adana.init(rest)
        return state._replace(m=_joined(axes, nesterov.init(matrices).m, state.m))

    def update(
        grads: optax.Updates, state: LogTimeState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LogTimeState]:
        axes = matrix_axes(muon, grads if params is None else params)
        (matrices, rest), (m, others) = _split(axes, grads), _split(axes, state.m)
        x, averages = nesterov.update(matrices, LogTimeState(state.count, m=m))
        u, new = adana.update(rest, state._replace(m=others))
        steps = jax.tree.map(
            lambda a, x: a.step(x, ns_steps, rms_scale) if isinstance(a, Axes) else x, axes, x
        )
        return _joined(axes, steps, u), new._replace(m=_joined(axes, averages.m, new.m))

    return optax.GradientTransformation(init, update)


def _split(axes: Any, tree: Any) -> tuple[Any, Any]:
    """Return the tree of matrices alone and that of the rest, as `optax.masked` makes them."""
    empty = optax.MaskedNode()
    return (
        jax.tree.map(lambda a, x: x if a else empty, axes, tree),
        jax.tree.map(lambda a, x: empty if a else x, axes, tree),
    )


def _joined(axes: Any, matrices: Any, rest: Any) -> Any:
    """Undo `_split`."""
    return jax.tree.map(lambda a, x, y: x if a else y, axes, matrices, rest)


@explain_unknown_arguments
def log_muon(
    learning_rate: LearningRate,
    *,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    extra_momentum: float = 0.0,
    muon: Any = None,
    ns_steps: int = NS_STEPS,
    rms_scale: float = RMS_SCALE,
    decay: Decay = "log-time",
    decay_order: DecayOrder = "before",
    first_step: int = 1,
    momentum_cooldown: float = 0.0,
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Muon with log-time momentum for matrices, ADana for the rest, as `adana.LogMuon`.

    The update is `scale_by_log_muon`, with weight decay independent of the learning rate. For a
    learning rate of its own for each kind of parameter, put `log_muon(..., muon=True)` and `adana`
    into `optax.multi_transform`.

    Args:
        muon: which leaves are orthogonalised, as for `scale_by_log_muon`: a tree or a function of
            the parameters. Default: `muon_mask`, which spares embeddings and heads by name (torch
            has no default, since a module list says less than a path).
        ns_steps, rms_scale: as for `scale_by_log_muon`.
        extra_momentum: undamped momentum added to the multiplier of m. Default 0.
        decay_order: "before" (default) or "after".

    The others, what is returned, errors: as for `adana`. With `optax.inject_hyperparams`, name
    functions in `static_args=("muon", "mask")`. State: 1 tensor of a matrix's shape (4 bytes a
    parameter), 2 for the rest (8 bytes).
    """
    block = scale_by_log_muon(
        kappa,
        delta=delta,
        eps=eps,
        momentum_scale=cooled_down(momentum_scale, momentum_cooldown, total_steps),
        extra_momentum=extra_momentum,
        muon=muon,
        ns_steps=ns_steps,
        rms_scale=rms_scale,
        first_step=first_step,
    )
    return optimizer(
        block,
        learning_rate,
        peak_lr=peak_lr,
        decay=decay,
        omega=omega,
        total_steps=total_steps,
        decay_offset=decay_offset,
        decay_order=decay_order,
        mask=mask,
    )
