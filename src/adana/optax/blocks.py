"""Building blocks: the members of the family without learning rate and weight decay.

Each says how its hyperparameters become the schedules of `scale_by_schedules`.
"""

from __future__ import annotations

from typing import Any, Literal

import optax

from adana import schedules
from adana.optax.checks import check_betas, check_choice, check_range
from adana.optax.update import scale_by_schedules
from adana.schedules import Schedule

Alpha = Literal["damped", "constant", "undamped", "nesterov"]
GradTerm = Literal["raw", "ema", "none"]


def scale_by_adana(
    kappa: float = schedules.KAPPA,
    *,
    delta: float = schedules.DELTA,
    eps: float = schedules.EPS,
    momentum_scale: float = 1.0,
    extra_momentum: float = 0.0,
    clip_snr: float | None = None,
    alpha: Alpha = "damped",
    grad_term: GradTerm = "raw",
    beta1: float = schedules.BETAS[0],
    beta2: float | None = None,
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
        momentum_scale: factor on the momentum part (the reference's gamma_3). Default 1.
        extra_momentum: undamped momentum (the spec's c): 0 in the published formula, 1 in the
            released code and in Dana-MK4.
        clip_snr: bound of the momentum's signal-to-noise ratio. Default: none.
        alpha: "damped" (default) `(1 + t)^(1 - kappa)`; "constant" 1; "undamped" `delta + t`
            (Log-NAdamW, diverges by design); "nesterov" `(delta + t) / delta`.
        grad_term: "raw" (default) g; "ema" a short average of g at `beta1`, bias-corrected;
            "none" nothing. With "none", `alpha="constant"` is the ablation Log-AdamW and
            `kappa=0.75` is ADana-no-gradient (spec/optimizers.md section 8).
        beta1: beta of the short average. Default 0.9.
        beta2: constant beta of v, bias-corrected. Default: none, log-time as m.
        first_step: index of the first step in a(t) and alpha(t): 1 (default, the published runs)
            or 0 (exactly unbiased averages).

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    check_choice("alpha", alpha, ("damped", "constant", "undamped", "nesterov"))
    check_choice("grad_term", grad_term, ("raw", "ema", "none"))
    check_range("beta1", beta1, low=0.0, high=1.0, high_open=True)
    multipliers: dict[str, Schedule] = {
        "damped": lambda t: schedules.damping(t, kappa),
        "constant": lambda t: 1.0,
        "undamped": lambda t: schedules.undamped(t, delta),
        "nesterov": lambda t: schedules.nesterov(t, delta),
    }
    weight = _log_time_weight(delta)
    short = _short_average(beta1) if grad_term == "ema" else {}
    second = {"ema_v": weight} if beta2 is None else _constant_second_moment(beta2)
    return scale_by_schedules(
        ema_m=weight,
        alpha=multipliers[alpha],
        **{"gradient": None if grad_term == "none" else 1.0, **short, **second},
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
    momentum_scale: float = 1.0,
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
    kappa: float = schedules.KAPPA,
    delta: float = schedules.DELTA,
    betas: tuple[float, float] = schedules.BETAS,
    momentum_scale: float = 1.0,
    eps: float = schedules.EPS,
) -> optax.GradientTransformation:
    """Rescale gradients as AdEMAMix does, with both warm-ups as long as training.

    With constant betas, bias-corrected, for the fast average m1 and for v::

        m <- m + (1 - beta3(t)) (g - m)                        not bias-corrected
        u  = (m1 / (1 - beta1^t) + momentum_scale alpha(t) m) / (sqrt(v / (1 - beta2^t)) + eps)

    `beta3(t)` has a half-life that grows linearly from that of beta1 to that of `1 - delta/T`;
    `alpha(t) = T^(1 - kappa) t / T` (`schedules.ademamix_beta`, `schedules.ademamix_alpha`).

    Args:
        total_steps: planned number of steps T; the schedules need it.
        kappa, delta, momentum_scale, eps: as for `scale_by_adana`. delta < total_steps.
        betas: of the fast average and of v. Default (0.9, 0.999). Source: arXiv 2409.03137;
            the dependence on T, delta and kappa is that of arXiv 2602.05298's baseline
            (spec/optimizers.md section 7).

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """
    check_betas(betas)
    check_range("total_steps", total_steps, low=1.0)
    check_range("kappa", kappa, low=0.0, high=1.0)
    check_range("delta", delta, low=0.0, low_open=True)
    final_weight = delta / total_steps
    check_range("delta / total_steps", final_weight, low=0.0, high=1.0, high_open=True)
    final_alpha = schedules.damping(total_steps - 1, kappa)
    return scale_by_schedules(
        ema_m=lambda t: schedules.ademamix_weight(t, betas[0], final_weight, total_steps),
        alpha=lambda t: schedules.ademamix_alpha(t, final_alpha, total_steps),
        **_short_average(betas[0]),
        **_constant_second_moment(betas[1]),
        momentum_scale=momentum_scale,
        eps=eps,
    )


def scale_by_dana(
    kappa: float,
    *,
    delta: float = schedules.DELTA,
    momentum_scale: float = 0.5,
    form: Literal["accumulate", "average"] = "accumulate",
    first_step: int = 0,
) -> optax.GradientTransformation:
    """Add DANA's momentum to the gradient: no second moment, for quadratics.

    At index k (from `first_step`), with `a(k) = delta / (delta + k)`::

        y <- (1 - a(k)) y + g ;       u = g + momentum_scale (1 + k)^(-kappa) y       "accumulate"
        m <- (1 - a(k)) m + a(k) g ;  u = g + momentum_scale (1 + k)^(1 - kappa) m    "average"

    Args:
        kappa: decay of the momentum, >= 0. For power-law features with covariance exponent
            `2 alpha` the best is `1 / (2 alpha)`; 0 is DANA-constant, which wants
            `momentum_scale` = 0.5 / dimension.
        delta: EMA constant, > 0. Default 8.
        momentum_scale: `gamma_3 / gamma_2` at the first step. Default 0.5 (the research code).
        form: "accumulate" (default, arXiv 2505.16098) or "average" (ADana without its second
            moment), about delta times stronger. spec/plrf.md sections 2.1 and 2.2.
        first_step: index of the first step, 0 (default, as the theory has it) or 1.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """
    check_range("kappa", kappa, low=0.0)
    check_range("delta", delta, low=0.0, low_open=True)
    check_choice("form", form, ("accumulate", "average"))
    accumulate = form == "accumulate"
    return scale_by_schedules(
        ema_m=_log_time_weight(delta),
        input_m=(lambda k: 1.0) if accumulate else None,
        alpha=lambda k: schedules.damping(k, kappa + 1 if accumulate else kappa),
        momentum_scale=momentum_scale,
        first_step=first_step,
    )


def _log_time_weight(delta: float) -> Schedule:
    return lambda t: schedules.ema_weight(t, delta)


def _short_average(beta: float) -> dict[str, Any]:
    """Return the schedules of a bias-corrected average of gradients at a constant beta."""
    return {
        "ema_short": lambda t: 1 - beta,
        "gradient": lambda t: 1 / schedules.constant_total_weight(t, beta),
    }


def _constant_second_moment(beta: float) -> dict[str, Any]:
    """Return the schedules of a bias-corrected second moment at a constant beta."""
    check_range("beta2", beta, low=0.0, high=1.0, high_open=True)
    return {
        "ema_v": lambda t: 1 - beta,
        "root": lambda t: schedules.constant_total_weight(t, beta) ** -0.5,
    }
