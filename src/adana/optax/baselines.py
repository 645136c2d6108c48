"""AdamW, AdEMAMix and DANA by name, with log-time parts and independent decay."""

from __future__ import annotations

import optax

from adana import schedules
from adana.optax import blocks
from adana.optax.chain import LearningRate, check_learning_rate, optimizer
from adana.optax.decay import Decay, DecayOrder, Mask
from adana.optax.refusals import explain_unknown_arguments


@explain_unknown_arguments
def log_adamw(
    learning_rate: LearningRate,
    *,
    betas: tuple[float, float] = schedules.BETAS,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    decay: Decay = "log-time",
    decay_order: DecayOrder = "before",
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """AdamW with constant betas and log-time weight decay, as `adana.LogAdamW`.

    "AdamW (DW)" in arXiv 2602.05298; not its ablation Log-AdamW, which is
    `adana(..., gradient="none", momentum="constant")`. The update is `scale_by_constant_betas`.

    Args:
        betas: decay rates of m and v, each in [0, 1). Default (0.9, 0.999).
        decay_order: "before" (default, as `optax.adamw`) or "after" (the authors' code).

    The others, what is returned, errors and state: as for `adana`.
    """
    block = blocks.scale_by_constant_betas(betas, eps=eps)
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


@explain_unknown_arguments
def ademamix(
    learning_rate: LearningRate,
    *,
    total_steps: float,
    betas: tuple[float, float] = schedules.BETAS,
    beta3: float | None = None,
    alpha: float | None = None,
    warmup_steps: float | None = None,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    decay: Decay = "constant",
    decay_order: DecayOrder = "before",
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """AdEMAMix (arXiv 2409.03137) with its warm-ups over training, as `adana.AdEMAMix`.

    Args:
        total_steps: planned number of steps T; schedules and constant decay need it.
        betas, beta3, alpha, warmup_steps: as for `scale_by_ademamix`, which is the update.
        decay: "constant" (default, the baseline of arXiv 2602.05298) removes `gamma omega / T`
            each step, "log-time" `gamma omega / (decay_offset + t)`.
        decay_offset: S in steps of log-time decay; constant decay ignores it.

    The others, what is returned, errors: as for `adana`. State: 3 tensors (12 bytes a parameter),
    2 with beta1 = 0.
    """
    block = blocks.scale_by_ademamix(
        total_steps=total_steps,
        betas=betas,
        beta3=beta3,
        alpha=alpha,
        warmup_steps=warmup_steps,
        kappa=kappa,
        delta=delta,
        momentum_scale=momentum_scale,
        eps=eps,
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


@explain_unknown_arguments
def log_ademamix(
    learning_rate: LearningRate,
    *,
    betas: tuple[float, float] = schedules.BETAS,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    decay: Decay = "log-time",
    decay_order: DecayOrder = "before",
    peak_lr: float | None = None,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """AdEMAMix without a horizon, as `adana.LogAdEMAMix`: its slow average is ADana's.

    What AdEMAMix's warm-ups reach at the end of training, `1 - beta3(t) = delta / (delta + t)` and
    `alpha(t) = (1 + t)^(1 - kappa)`, holds at every step. Update: `scale_by_log_ademamix`.

    Args:
        betas: of the fast average and of v. Default (0.9, 0.999).

    The others, what is returned, errors: as for `adana`. State: 3 tensors (12 bytes a parameter),
    2 with beta1 = 0.
    """
    block = blocks.scale_by_log_ademamix(
        kappa, delta=delta, betas=betas, momentum_scale=momentum_scale, eps=eps
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


@explain_unknown_arguments
def dana(
    learning_rate: LearningRate,
    *,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    momentum_scale: float = 0.5,
    dimension: int | None = None,
    forget: float | None = None,
    average: bool = False,
) -> optax.GradientTransformation:
    """DANA (arXiv 2505.16098), as `adana.Dana`: descent with log-time momentum, for quadratics.

    No second moment and no weight decay. `learning_rate` is the theory's gamma_2; the other
    arguments, the update and errors: `scale_by_dana`. State: 1 tensor (4 bytes a parameter).
    """
    check_learning_rate(learning_rate)
    block = blocks.scale_by_dana(
        kappa,
        delta=delta,
        momentum_scale=momentum_scale,
        dimension=dimension,
        forget=forget,
        average=average,
    )
    return optax.chain(block, optax.scale_by_learning_rate(learning_rate))
