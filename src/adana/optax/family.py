"""ADana and the Dana family by name: a building block, the learning rate, independent decay."""

from __future__ import annotations

from typing import Literal

import optax

from adana import schedules
from adana.checks import check_choice
from adana.optax import blocks
from adana.optax.chain import LearningRate, cooled_down, optimizer
from adana.optax.checks import check_range
from adana.optax.decay import Decay, DecayOrder, Mask
from adana.optax.refusals import explain_unknown_arguments

Variant = Literal["paper", "released"]


@explain_unknown_arguments
def adana(
    learning_rate: LearningRate,
    *,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    variant: Variant = "paper",
    extra_momentum: float | None = None,
    decay: Decay = "log-time",
    decay_order: DecayOrder | None = None,
    first_step: int = 1,
    momentum_cooldown: float = 0.0,
    gradient: blocks.Gradient = "raw",
    momentum: blocks.Momentum = "damped",
    beta2: float | None = None,
    correction: bool = True,
    average_beta: float = schedules.BETAS[0],
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """ADana (arXiv 2602.05298), as `adana.ADana`.

    At step t (from 1), with `a = delta / (delta + t)` and `lr = learning_rate(t - 1)`::

        m <- m + a (g - m)
        v <- v + a (g^2 - v)
        u  = (g + momentum_scale (1 + t)^(1 - kappa) m) / (sqrt(v) + eps)
        p <- p - (lr / peak_lr) omega / (decay_offset + t) p - lr u

    Args:
        learning_rate: a number, or a function of the count from 0, as optax's schedules are:
            `lambda count: 1e-3 * schedules.warmup_cosine(count + 1, T, W)`.
        kappa, delta, eps, momentum_scale, first_step: as for `scale_by_adana`.
        omega: weight-decay strength, >= 0. Default 4. It is independent of the learning rate:
            AdamW's is `lr * weight_decay * total_steps`.
        total_steps: planned number of steps T, which sets the default `decay_offset`.
        decay_offset: S in steps. Default `T / 10`, without a horizon `100 * omega`.
        variant: "paper" (default): the published formula. "released": the authors' released code,
            whose multiplier of m is `1 + (1 + t)^(1 - kappa)` and which decays after the update
            (spec/optimizers.md section 1).
        extra_momentum: added to the multiplier of m (the spec's c). Default by variant: 0 or 1.
        decay: "log-time" (default) or "constant", which removes `omega / total_steps` a step and
            ignores `decay_offset`, so that a study can change `decay` alone.
        decay_order: "before": decay and update both use the old weights; "after": decay comes
            last. Default by variant.
        momentum_cooldown: fraction of total_steps over which the momentum part falls to 0 on a
            straight line at the end of training (arXiv 2609.04577). Default 0: never. A traced
            value above 0 without total_steps gives NaN, since traced code cannot raise.
        gradient, momentum, beta2, correction, average_beta: the ablations (`scale_by_adana`).
        peak_lr: the highest learning rate of the run. Needed for a schedule and for a traced
            learning rate (`optax.inject_hyperparams`, `jax.vmap`), whose multiplier is cut off at 1
            where they exceed it; a number is its own peak.
        mask: which parameters are decayed, as for `optax.adamw`: a tree of booleans or a function
            of the parameters. Default: all; `decay_mask` makes the usual choice.

    Returns:
        A transformation whose `update(grads, state, params)` needs the parameters.

    Raises:
        ValueError: a hyperparameter is out of range, or `peak_lr` is needed and missing.
            Values traced by JAX are not checked.
        TypeError: an argument of another optimizer; the message says what to pass instead.

    State: 2 tensors of the parameter's shape, float32 at least (8 bytes a parameter).
    """
    c, order = _by_variant(variant, (0.0, 1.0), extra_momentum, decay_order)
    block = blocks.scale_by_adana(
        kappa,
        delta=delta,
        eps=eps,
        momentum_scale=cooled_down(momentum_scale, momentum_cooldown, total_steps),
        extra_momentum=c,
        gradient=gradient,
        momentum=momentum,
        beta2=beta2,
        correction=correction,
        average_beta=average_beta,
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
        decay_order=order,
        mask=mask,
    )


@explain_unknown_arguments
def dana_mk4(
    learning_rate: LearningRate,
    *,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    clip_snr: float | None = None,
    variant: Variant = "paper",
    extra_momentum: float | None = None,
    decay: Decay = "log-time",
    decay_order: DecayOrder | None = None,
    first_step: int = 1,
    momentum_cooldown: float = 0.0,
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Dana-MK4: ADana whose damped momentum is clipped in signal-to-noise ratio.

    With D = sqrt(v) + eps, elementwise::

        u = g / D + momentum_scale (clip((1 + t)^(1 - kappa) m / D, clip_snr) + m / D)

    Args:
        clip_snr: bound of the damped momentum part. Default `schedules.default_clip_snr(kappa)`:
            2 up to kappa = 0.75, 0.25 from 0.85 on (the published runs, spec/optimizers.md
            section 2). `math.inf` clips nothing.
        variant: "paper" (default) decays before the update, "released" after it.
        extra_momentum: multiplier of the last term (the spec's c). Default 1 in both variants.

    The others, what is returned, errors and state: as for `adana`.
    """
    c, order = _by_variant(variant, (1.0, 1.0), extra_momentum, decay_order)
    block = blocks.scale_by_adana(
        kappa,
        delta=delta,
        eps=eps,
        momentum_scale=cooled_down(momentum_scale, momentum_cooldown, total_steps),
        extra_momentum=c,
        clip_snr=_clip(clip_snr, kappa),
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
        decay_order=order,
        mask=mask,
    )


@explain_unknown_arguments
def dana_star(
    learning_rate: LearningRate,
    *,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    grad_clip_snr: float | None = None,
    variant: Variant = "paper",
    extra_momentum: float | None = None,
    decay: Decay = "log-time",
    decay_order: DecayOrder | None = None,
    first_step: int = 1,
    momentum_cooldown: float = 0.0,
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Dana-Star: ADana that knows how often each coordinate is active (`scale_by_dana_star`).

    Args:
        grad_clip_snr: bound of the gradient's signal-to-noise ratio; the authors' first class
            used 2. Default: none.
        variant: "paper" (default): the form of the authors' first torch class and of their JAX
            code, multiplier `(1 + q)^(1 - kappa)` and decay before the update. "released": their
            released code, `1 + q^(1 - kappa)` and decay after it (spec/optimizers.md section 4).

    The others, what is returned, errors: as for `adana`. State: 3 tensors (12 bytes a parameter).
    """
    c, order = _by_variant(variant, (0.0, 1.0), extra_momentum, decay_order)
    block = blocks.scale_by_dana_star(
        kappa,
        delta=delta,
        eps=eps,
        momentum_scale=cooled_down(momentum_scale, momentum_cooldown, total_steps),
        extra_momentum=c,
        time_shift=1.0 if variant == "paper" else 0.0,
        grad_clip_snr=grad_clip_snr,
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
        decay_order=order,
        mask=mask,
    )


@explain_unknown_arguments
def dana_star_mk4(
    learning_rate: LearningRate,
    *,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    clip_snr: float | None = None,
    variant: Variant = "paper",
    extra_momentum: float | None = None,
    decay: Decay = "log-time",
    decay_order: DecayOrder | None = None,
    first_step: int = 1,
    momentum_cooldown: float = 0.0,
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Dana-Star-MK4: Dana-Star whose damped momentum is clipped in signal-to-noise ratio.

    Multiplier `1 + q^(1 - kappa)`, of which the second part is clipped to `clip_snr` times the
    activity r (spec/optimizers.md section 5).

    Args:
        clip_snr, variant, extra_momentum: as for `dana_mk4`.

    The others, what is returned, errors: as for `adana`. State: 3 tensors (12 bytes a parameter).
    """
    c, order = _by_variant(variant, (1.0, 1.0), extra_momentum, decay_order)
    block = blocks.scale_by_dana_star(
        kappa,
        delta=delta,
        eps=eps,
        momentum_scale=cooled_down(momentum_scale, momentum_cooldown, total_steps),
        extra_momentum=c,
        time_shift=0.0,
        clip_snr=_clip(clip_snr, kappa),
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
        decay_order=order,
        mask=mask,
    )


def _by_variant(
    variant: Variant,
    extra: tuple[float, float],
    extra_momentum: float | None,
    decay_order: DecayOrder | None,
) -> tuple[float, DecayOrder]:
    """Fill in `extra_momentum` and `decay_order` where the variant decides."""
    check_choice("variant", variant, ("paper", "released"))
    paper = variant == "paper"
    if extra_momentum is None:
        extra_momentum = extra[0] if paper else extra[1]
    if decay_order is None:
        decay_order = "before" if paper else "after"
    return extra_momentum, decay_order


def _clip(clip_snr: float | None, kappa: float) -> float:
    check_range("kappa", kappa, low=0.0, high=1.0)
    return schedules.default_clip_snr(kappa) if clip_snr is None else clip_snr
