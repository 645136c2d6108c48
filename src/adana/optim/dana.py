"""DANA: log-time momentum without a second moment, for quadratics and theory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from adana import schedules
from adana.checks import check_flag, check_range
from adana.optim.base import LogTimeOptimizer
from adana.optim.scheduled import CommonArguments
from adana.optim.update import Form, Hyper, Updated, step_factor


def _linear(p: Any, g: Any, s: dict[str, Any], h: Hyper, form: Form, *, see: bool) -> Updated:
    """y <- y - ema_m y + ema_fast g;  p <- p - decay p - lr (grad g + momentum y).

    y is called m. A pure function, as `adana.optim.update.updated`.
    """
    y = s["m"]
    y = y - y * h.ema_m + g * h.ema_fast
    factor = step_factor(h, form)
    change = g * (factor * h.grad) + y * (factor * h.momentum)
    new = p - (change + p * h.decay) if form.decay else p + change
    u = g * h.grad + y * h.momentum
    seen = {"g": g * g, "u": u * u, "m": y * y} if see else {}
    return Updated(new, {"m": y}, seen)


class Dana(LogTimeOptimizer):
    """DANA (arXiv 2505.16098) and its constant-memory relative SGD-M, as published for quadratics.

    At step t = 1, 2, ... with k = t - 1::

        y <- (1 - D(k)) y + g                        D(k) = delta / (delta + k)
        p <- p - lr * (g + c(k) * y)                 c(k) = momentum_scale * (1 + k)^(-kappa)

    DANA-decaying is the default; `kappa = 1 / (2 alpha)` is its best value on power-law data of
    exponent alpha. DANA-constant has `dimension=d` and `c = momentum_scale / d`. With `forget` a
    number, D is that constant: SGD-M. `average=True` keeps y as an average (`y <- y + D (g - y)`)
    and multiplies it by `momentum_scale * (1 + k)^(1 - kappa)`, which is ADana without its second
    moment, `delta` times stronger at equal scale.

    Args:
        params: parameters, named parameters or groups, as for any `torch.optim` optimizer.
        lr: step size (gamma_2 in spec/plrf.md). The theory's default is half of
            `min(1, batch / trace of the covariance)`.
        kappa: decay exponent of the momentum, 0 <= kappa <= 1. Default 0.85, for language;
            1 / (2 alpha) on a model of known alpha.
        delta: memory constant, > 0. Default 8.
        momentum_scale: c, >= 0. Default 0.5 (the authors' code; larger may be unstable).
        dimension: d of DANA-constant. Default None: DANA-decaying.
        forget: constant D in (0, 1], for SGD-M with `c = momentum_scale`. Default None: log-time.
        average: keep y as an average. Default False.
        omega: weight-decay strength. Default 0: the theory has none.
        total_steps, decay_offset, decay, decay_order, peak_lr, foreach, fused, maximize,
            capturable, differentiable, state_dtype, bf16_weights, seed: as for `ADana`. eps has no
            effect.

    Raises:
        ValueError: a hyperparameter is out of range or not finite.
        RuntimeError, TypeError: as for `ADana`.

    State: 1 float32 tensor of the parameter's shape.

    Source: spec/plrf.md section 2, accumulate form.
    """

    rule = staticmethod(_linear)
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **LogTimeOptimizer.DEFAULTS,
        "omega": 0.0,
        "kappa": schedules.KAPPA,
        "delta": schedules.DELTA,
        "momentum_scale": 0.5,
        "dimension": None,
        "forget": None,
        "average": False,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        kappa: float = schedules.KAPPA,
        delta: float = schedules.DELTA,
        momentum_scale: float = 0.5,
        dimension: int | None = None,
        forget: float | None = None,
        average: bool = False,
        **common: Unpack[CommonArguments],
    ) -> None:
        super().__init__(
            params,
            lr,
            kappa=kappa,
            delta=delta,
            momentum_scale=momentum_scale,
            dimension=dimension,
            forget=forget,
            average=average,
            **common,
        )

    def reschedule(self, **changes: Any) -> None:
        """As for the family, but what the buffer holds (`average`, `forget`) stays."""
        for name in ("average", "forget"):
            if name in changes:
                raise ValueError(
                    f"{name!r} decides what the buffer holds and cannot be rescheduled"
                )
        super().reschedule(**changes)

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        check_range("kappa", group["kappa"], low=0.0, high=1.0)
        check_range("delta", group["delta"], low=0.0, low_open=True)
        check_range("momentum_scale", group["momentum_scale"], low=0.0)
        check_flag("average", group["average"])
        if group["dimension"] is not None:
            check_range("dimension", group["dimension"], low=1)
        if group["forget"] is not None:
            check_range("forget", group["forget"], low=0.0, high=1.0, low_open=True)

    def state_names(self, group: Mapping[str, Any], p: Tensor) -> tuple[str, ...]:
        """Return the names of the state tensors: the buffer y alone, called m."""
        return ("m",)

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`.

        `ema_m` is what the buffer forgets, `ema_fast` the weight of the gradient that enters it.
        """
        k = t - 1
        constant = group["forget"] is not None
        forget = group["forget"] if constant else schedules.ema_weight(k, group["delta"])
        scale, growth = group["momentum_scale"], 1.0
        if group["dimension"] is not None:
            scale = scale / group["dimension"]
        elif not constant:
            growth = schedules.damping(k, group["kappa"])  # (1 + k)^(1 - kappa)
            growth = growth if group["average"] else growth / (1 + k)
        return Hyper(
            **self.step_numbers(group, t),
            ema_m=forget,
            ema_fast=forget if group["average"] else 1.0,
            grad=1.0,
            momentum=scale * growth,
        )

    def update_lists(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        states: dict[str, list[Tensor]],
        hyper: Hyper,
        form: Form,
    ) -> None:
        """Do the same as `rule` for lists of tensors, in place."""
        _linear_foreach(params, grads, states["m"], hyper, form)


def _linear_foreach(
    p: list[Tensor], g: list[Tensor], y: list[Tensor], h: Hyper, form: Form
) -> None:
    """Do the same as `_linear` for lists of tensors."""
    torch._foreach_sub_(y, torch._foreach_mul(y, h.ema_m))
    torch._foreach_add_(y, torch._foreach_mul(g, h.ema_fast))
    factor = step_factor(h, form)
    change = torch._foreach_mul(g, factor * h.grad)
    torch._foreach_add_(change, torch._foreach_mul(y, factor * h.momentum))
    if form.decay:
        torch._foreach_add_(change, torch._foreach_mul(p, h.decay))
        torch._foreach_sub_(p, change)
    else:
        torch._foreach_add_(p, change)
