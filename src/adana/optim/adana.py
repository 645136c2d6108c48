"""ADana: Adam with log-time averages, a damped momentum and log-time weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Never

from torch import Tensor

from adana import schedules
from adana.optim.coded import Bf16Weights, StateDtype
from adana.optim.damped import DampedMomentum, Source, Variant
from adana.optim.scheduled import Decay, DecayOrder


class ADana(DampedMomentum):
    r"""ADana (arXiv 2602.05298), a drop-in for `torch.optim.AdamW` with a growing memory.

    At step t (from 1), with :math:`a_t = \delta / (\delta + t)`::

        m <- m + a_t (g - m)
        v <- v + a_t (g^2 - v)
        u  = (g + momentum_scale * (1 + t)^(1 - kappa) * m) / (sqrt(v) + eps)
        p <- p - gamma(t) * omega / (decay_offset + t) * p - lr * u

    where `gamma(t) = lr / peak_lr` is the learning-rate schedule. No bias correction: m and v carry
    the same total weight, 0.89 after one step and 0.998 after four (`schedules.ema_total_weight`).

    Args:
        params: parameters, named parameters or groups, as for any `torch.optim` optimizer. A group
            may set any hyperparameter below. `adana.param_groups(model)` makes the usual two.
        lr: peak learning rate eta; schedulers of `torch.optim.lr_scheduler` then change it.
            For language models about a third of AdamW's at 45.7 M parameters (1.3e-3 against
            3.8e-3) and a fifth at 2.6 B (spec/training.md section 3.1).
        kappa: damping exponent, 0 <= kappa <= 1; 1 makes the momentum multiplier constant.
            Useful range 0.75 to 0.9. Default 0.85 (the paper's main setting).
        delta: EMA constant, > 0. The mean age of the averages is t / (delta + 1). Default 8.
        omega: weight-decay strength, >= 0; AdamW's is lr * weight_decay * total_steps. Default 4.
        total_steps: number of optimizer steps T planned, which sets the default `decay_offset`.
        decay_offset: S in steps. Default total_steps / 10; without a horizon 100 * omega, so that
            the first decay is at most 1 %. Never below omega by default.
        eps: added to sqrt(v), outside the root. Default 1e-8.
        momentum_scale: factor on the momentum term (the reference's gamma_3). Default 1.
        variant: "paper" (default) is the published formula, above, and the class behind the paper's
            Enoki curves. "released" reproduces the authors' released code: the multiplier of m is
            `1 + (1 + t)^(1 - kappa)` and decay comes after the update; its best learning rate
            differs by an estimated 10 to 30 % (spec/optimizers.md section 1).
        extra_momentum: c, how many times m is added undamped. Default by variant: 0 or 1.
        decay: "log-time" (default) or "constant", which removes omega / total_steps a step and
            ignores decay_offset, so that a study can change `decay` alone.
        decay_order: "before" (decay and update both use the old weights) or "after". Default by
            variant.
        first_step: index of the first step in `a_t` and the momentum multiplier: 1 (default, the
            published runs) or 0 (exactly unbiased averages, as in the authors' JAX code).
        momentum_cooldown: fraction of total_steps over which the momentum term falls to 0 on a
            straight line at the end of training (arXiv 2609.04577). Default 0: never.
        peak_lr: the highest learning rate of the run. Default: `max_lr` or `initial_lr` where a
            torch scheduler left one in the group, else `lr`.
        foreach: update lists of tensors at once (default) instead of one after another.
        maximize: ascend instead of descend.
        capturable: keep the step counters on the parameters' device and never wait for it, so that
            a CUDA graph can hold the step; pass `lr` as a tensor then.
        differentiable: not supported; True is an error.
        fused: one kernel for the whole update, made for this machine by its C compiler (about half
            a second, once), or by Triton for a GPU. Default None: on a CPU with a compiler, if
            `foreach` is not given. True warns where there is no compiler. Tensors a kernel does not
            take (float64, with gaps in memory, of foreign classes) are updated as with False.
        state_dtype: how m, v and tau are kept, all but "fp32" with stochastic rounding:
            "fp32" (default, 4 bytes each), "fp24" (3 bytes), "log16" (2 bytes, for log-time
            averages: codes without scales that a long memory survives) or "bf16_sr" (2 bytes, any
            average, noisier). docs/low-precision.md derives and measures their errors.
        bf16_weights: how new bfloat16 weights are rounded, once for decay and update together:
            "stochastic" (default), "nearest" (loses steps below half a unit in the last place), or
            "split24" and "split32", which keep the bits that bfloat16 lacks in the state (1 and 2
            bytes more). Of no effect on other weights.
        seed: of the random bits for stochastic rounding, an integer >= 0. They are a function of
            seed, step, parameter and element: the same whatever the sharding, and after resuming.

    Raises:
        ValueError: a hyperparameter is out of range or not finite.
        TypeError: an argument is unknown; for those of `torch.optim.AdamW` that ADana does not
            take (`weight_decay`, `betas`, `amsgrad`) it says what to do instead.
        RuntimeError: complex or sparse parameters; sparse or complex gradients at `step`.

    State: 2 tensors of the parameter's shape in float32 (8 bytes a parameter, as AdamW).

    Example:
        >>> import torch, adana
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = adana.ADana(adana.param_groups(model), lr=1e-3, total_steps=1000)
        >>> model(torch.ones(1, 4)).sum().backward()
        >>> optimizer.step()
    """

    VARIANTS: ClassVar[dict[str, Source]] = {
        "paper": Source(extra_momentum=0.0, decay_order="before"),
        "released": Source(extra_momentum=1.0, decay_order="after"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
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
        first_step: Literal[0, 1] = 1,
        momentum_cooldown: float = 0.0,
        peak_lr: float | None = None,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        state_dtype: StateDtype = "fp32",
        bf16_weights: Bf16Weights = "stochastic",
        seed: int = 0,
        **unknown: Never,
    ) -> None:
        super().__init__(
            params,
            lr,
            kappa=kappa,
            delta=delta,
            omega=omega,
            total_steps=total_steps,
            decay_offset=decay_offset,
            eps=eps,
            momentum_scale=momentum_scale,
            variant=variant,
            extra_momentum=extra_momentum,
            decay=decay,
            decay_order=decay_order,
            first_step=first_step,
            momentum_cooldown=momentum_cooldown,
            peak_lr=peak_lr,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            state_dtype=state_dtype,
            bf16_weights=bf16_weights,
            seed=seed,
            **unknown,
        )
