"""Building blocks: the members of the family without learning rate and weight decay.

Each says how its hyperparameters become the schedules of `scale_by_schedules`.
"""

from __future__ import annotations

from typing import Any, Literal

import optax

from adana import schedules
from adana.checks import check_choice, check_flag
from adana.optax.checks import check_betas, check_range
from adana.optax.update import scale_by_schedules
from adana.schedules import Schedule

Gradient = Literal["raw", "average", "none"]
Momentum = Literal["damped", "constant", "undamped", "nesterov"]


def scale_by_adana(
    kappa: float = schedules.KAPPA,
    *,
    delta: float = schedules.DELTA,
    eps: float = schedules.EPS,
    momentum_scale: Schedule | float = 1.0,
    extra_momentum: float = 0.0,
    clip_snr: float | None = None,
    gradient: Gradient = "raw",
    momentum: Momentum = "damped",
    beta2: float | None = None,
    correction: bool = True,
    average_beta: float = schedules.BETAS[0],
    first_step: int = 1,
) -> optax.GradientTransformation:
    """Rescale gradients as ADana, Dana-MK4 or one of their ablations does.

    At step t (from 1), with `a(t) = delta / (delta + t)`::

        m <- m + a(t) (g - m)
        v <- v + a(t) (g^2 - v)
        u  = (g + momentum_scale (alpha(t) + extra_momentum) m) / (sqrt(v) + eps)

    With `clip_snr` (Dana-MK4), `alpha(t) m / (sqrt(v) + eps)` is clipped to that magnitude.

    Args:
        kappa: damping exponent in [0, 1]. Default 0.85 (arXiv 2602.05298).
        delta: EMA constant, > 0. Default 8.
        eps: added to sqrt(v), outside the root. Default 1e-8.
        momentum_scale: factor on the momentum part (the reference's gamma_3), or a function of
            the step t that gives it. Default 1.
        extra_momentum: undamped momentum (the spec's c): 0 in the published formula, 1 in the
            released code and in Dana-MK4.
        clip_snr: bound of the momentum's signal-to-noise ratio. Default: none.
        gradient: the gradient term: "raw" (default) g; a short "average" of it at
            `average_beta`, without bias correction; or "none".
        momentum: alpha(t): "damped" (default) `(1 + t)^(1 - kappa)`; "constant" 1; "undamped"
            `delta + t`; or "nesterov" `(delta + t) / delta`. The arrangements that the paper
            studied are named in spec/optimizers.md section 8: Log-AdamW is `gradient="none",
            momentum="constant"`, ADana-no-gradient `gradient="none", kappa=0.75`, and Log-NAdamW,
            which diverges by design, `momentum="undamped"`.
        beta2: constant beta of v. Default: none, log-time as m.
        correction: whether a constant `beta2` is bias-corrected. Default True.
        average_beta: beta of the short average. Default 0.9.
        first_step: index of the first step in a(t) and alpha(t): 1 (default, the published runs)
            or 0 (exactly unbiased averages).

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    check_choice("gradient", gradient, ("raw", "average", "none"))
    check_choice("momentum", momentum, ("damped", "constant", "undamped", "nesterov"))
    check_flag("correction", correction)
    check_range("average_beta", average_beta, low=0.0, high=1.0, high_open=True)
    multipliers: dict[str, Schedule] = {
        "damped": lambda t: schedules.damping(t, kappa),
        "constant": lambda t: 1.0,
        "undamped": lambda t: schedules.undamped(t, delta),
        "nesterov": lambda t: schedules.nesterov(t, delta),
    }
    weight = _log_time_weight(delta)
    second: dict[str, Any] = {"ema_v": weight}
    if beta2 is not None:
        second = _constant_second_moment(beta2)
        if not correction:
            del second["root"]
    return scale_by_schedules(
        ema_m=weight,
        alpha=multipliers[momentum],
        **second,
        gradient=None if gradient == "none" else 1.0,
        ema_fast=(lambda t: 1 - average_beta) if gradient == "average" else None,
        extra_momentum=extra_momentum,
        momentum_scale=momentum_scale,
        clip_snr=clip_snr,
        eps=eps,
        first_step=first_step,
    )


def scale_by_dana_star(
    kappa: float = schedules.KAPPA,
    *,
    delta: float = schedules.DELTA,
    eps: float = schedules.EPS,
    momentum_scale: Schedule | float = 1.0,
    extra_momentum: float = 0.0,
    time_shift: float = 1.0,
    clip_snr: float | None = None,
    grad_clip_snr: float | None = None,
    first_step: int = 1,
) -> optax.GradientTransformation:
    """Rescale gradients as Dana-Star or Dana-Star-MK4 does: each coordinate on its own clock.

    As ADana, with a third average tau of how often a coordinate is active. From it come an
    activity r in (0, 1] and an effective time `q = max(tau t, 1)` (`scale_by_schedules`, star)::

        u = sqrt(r) (g + momentum_scale ((time_shift + q)^(1 - kappa) + extra_momentum) m)
            / (sqrt(v) + eps)

    Args:
        kappa, delta, eps, momentum_scale, extra_momentum, first_step: as for `scale_by_adana`.
        time_shift: added to q: 1 (default, Dana-Star) or 0 (released code, Dana-Star-MK4).
        clip_snr: bound of the damped momentum's signal-to-noise ratio, times r. Default: none.
        grad_clip_snr: bound of the gradient's signal-to-noise ratio. Default: none.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    check_range("time_shift", time_shift, low=0.0)
    weight = _log_time_weight(delta)
    return scale_by_schedules(
        ema_m=weight,
        ema_v=weight,
        alpha=lambda q: schedules.effective_damping(q, kappa, time_shift),
        star=True,
        extra_momentum=extra_momentum,
        momentum_scale=momentum_scale,
        clip_snr=clip_snr,
        grad_clip_snr=grad_clip_snr,
        eps=eps,
        first_step=first_step,
    )


def scale_by_constant_betas(
    betas: tuple[float, float] = schedules.BETAS, *, eps: float = schedules.EPS
) -> optax.GradientTransformation:
    """Rescale gradients as Adam does, with averages in float32 at least.

    `u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)`. The same as `optax.scale_by_adam`
    but for 16-bit parameters, whose second moment optax keeps in 16 bits, and for the first
    steps in float32, where `1 - beta2^t` is computed here without cancellation.

    Raises:
        ValueError: `betas` are not two numbers in [0, 1), or eps is negative.
    """
    check_betas(betas)
    beta1, beta2 = betas
    return scale_by_schedules(
        ema_m=lambda t: 1 - beta1,
        alpha=lambda t: 1 / schedules.constant_total_weight(t, beta1),
        **_constant_second_moment(beta2),
        gradient=None,
        eps=eps,
    )


def scale_by_ademamix(
    *,
    total_steps: float,
    betas: tuple[float, float] = schedules.BETAS,
    beta3: float | None = None,
    alpha: float | None = None,
    warmup_steps: float | None = None,
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    momentum_scale: Schedule | float = 1.0,
    eps: float = schedules.EPS,
) -> optax.GradientTransformation:
    """Rescale gradients as AdEMAMix does, with both warm-ups as long as training.

    With constant betas, bias-corrected, for the fast average m1 and for v::

        m <- m + (1 - beta3(t)) (g - m)                        not bias-corrected
        u  = (m1 / (1 - beta1^t) + momentum_scale alpha(t) m) / (sqrt(v / (1 - beta2^t)) + eps)

    `beta3(t)` has a half-life that grows on a straight line from that of beta1 to that of `beta3`,
    `alpha(t)` grows on a straight line from 0 to `alpha` (`schedules.ademamix_beta`,
    `schedules.ademamix_alpha`).

    Args:
        total_steps: planned number of steps T; the defaults depend on it.
        betas: of the fast average and of v. Default (0.9, 0.999).
        beta3: beta that the slow average ends with. Default `1 - delta / T`.
        alpha: multiplier that the slow average ends with. Default `T^(1 - kappa)`.
        warmup_steps: length of both warm-ups in steps. Default T.
        kappa, delta, momentum_scale, eps: as for `scale_by_adana`.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.

    Source: arXiv 2409.03137; the defaults in T are those of the baseline of arXiv 2602.05298
    (spec/optimizers.md section 7).
    """
    check_range("total_steps", total_steps, low=1.0)
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    warmup = total_steps if warmup_steps is None else warmup_steps
    check_range("warmup_steps", warmup, low=0.0, low_open=True)
    if beta3 is None:
        weight = delta / total_steps
        check_range("delta / total_steps", weight, low=0.0, high=1.0, high_open=True)
    else:
        check_range("beta3", beta3, low=0.0, high=1.0, low_open=True, high_open=True)
        weight = 1 - beta3
    if alpha is None:
        alpha = schedules.damping(total_steps - 1, kappa)
    check_range("alpha", alpha, low=0.0)
    return _two_averages(
        lambda t: schedules.ademamix_weight(t, betas[0], weight, warmup),
        lambda t: schedules.ademamix_alpha(t, alpha, warmup),
        betas=betas,
        momentum_scale=momentum_scale,
        eps=eps,
    )


def scale_by_log_ademamix(
    kappa: float = schedules.KAPPA,
    *,
    delta: float = schedules.DELTA,
    betas: tuple[float, float] = schedules.BETAS,
    momentum_scale: Schedule | float = 1.0,
    eps: float = schedules.EPS,
) -> optax.GradientTransformation:
    """Rescale gradients as AdEMAMix does, with log-time schedules in place of its warm-ups.

    `1 - beta3(t) = delta / (delta + t)` and `alpha(t) = (1 + t)^(1 - kappa)` in the update of
    `scale_by_ademamix`, so that no horizon is needed (spec/optimizers.md section 7).

    Args:
        betas: of the fast average and of v. Default (0.9, 0.999).
        kappa, delta, momentum_scale, eps: as for `scale_by_adana`.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    return _two_averages(
        _log_time_weight(delta),
        lambda t: schedules.damping(t, kappa),
        betas=betas,
        momentum_scale=momentum_scale,
        eps=eps,
    )


def scale_by_dana(
    kappa: float = schedules.KAPPA,
    *,
    delta: float = schedules.DELTA,
    momentum_scale: float = 0.5,
    dimension: int | None = None,
    forget: float | None = None,
    average: bool = False,
) -> optax.GradientTransformation:
    """Add DANA's momentum to the gradient: no second moment, for quadratics.

    At step t = 1, 2, ... with k = t - 1 and `D(k) = delta / (delta + k)`::

        y <- (1 - D(k)) y + g
        u  = g + momentum_scale (1 + k)^(-kappa) y

    Args:
        kappa: decay exponent of the momentum in [0, 1]. Default 0.85; on power-law features whose
            covariance decays like `j^(-2 alpha)` the best is `1 / (2 alpha)`.
        delta: memory constant, > 0. Default 8.
        momentum_scale: `gamma_3 / gamma_2` at the first step. Default 0.5 (the authors' code).
        dimension: d of DANA-constant, whose multiplier is `momentum_scale / d` at every step.
        forget: constant D in (0, 1] with a constant multiplier `momentum_scale`: SGD-M.
        average: keep y as an average, `y <- y + D(k) (g - y)`, with the multiplier
            `momentum_scale (1 + k)^(1 - kappa)`: ADana without its second moment.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.

    Source: arXiv 2505.16098; spec/plrf.md sections 2.1 and 2.2.
    """
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    check_range("momentum_scale", momentum_scale, low=0.0)
    if dimension is not None:
        check_range("dimension", dimension, low=1)
        momentum_scale = momentum_scale / dimension
    if forget is not None:
        check_range("forget", forget, low=0.0, high=1.0, low_open=True)
    check_flag("average", average)
    constant = dimension is not None or forget is not None
    exponent = kappa if average else 1 + kappa
    return scale_by_schedules(
        ema_m=_log_time_weight(delta) if forget is None else (lambda k: forget),
        input_m=None if average else (lambda k: 1.0),
        alpha=lambda k: 1.0 if constant else schedules.damping(k, exponent),
        momentum_scale=momentum_scale,
        first_step=0,
    )


def _log_time_weight(delta: float) -> Schedule:
    return lambda t: schedules.ema_weight(t, delta)


def _two_averages(
    ema_m: Schedule,
    alpha: Schedule,
    *,
    betas: tuple[float, float],
    momentum_scale: Schedule | float,
    eps: float,
) -> optax.GradientTransformation:
    """Return the update with a fast average, bias-corrected as v is, and a slow one."""
    check_betas(betas)
    beta1, beta2 = betas
    return scale_by_schedules(
        ema_m=ema_m,
        alpha=alpha,
        **_constant_second_moment(beta2),
        ema_fast=(lambda t: 1 - beta1) if beta1 > 0 else None,
        gradient=lambda t: 1 / schedules.constant_total_weight(t, beta1),
        momentum_scale=momentum_scale,
        eps=eps,
    )


def _constant_second_moment(beta: float) -> dict[str, Any]:
    """Return the schedules of a bias-corrected second moment at a constant beta."""
    check_range("beta2", beta, low=0.0, high=1.0, high_open=True)
    return {
        "ema_v": lambda t: 1 - beta,
        "root": lambda t: schedules.constant_total_weight(t, beta) ** -0.5,
    }
