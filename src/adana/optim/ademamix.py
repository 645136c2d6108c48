"""AdEMAMix, with its warm-ups or with log-time schedules in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from adana import schedules
from adana.checks import check_betas, check_range
from adana.optim.base import LogTimeOptimizer
from adana.optim.scheduled import CommonArguments
from adana.optim.update import Form, Hyper


class _TwoAverages(LogTimeOptimizer):
    """A fast and a slow average of the gradient; subclasses say how slow, and how much of it."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **LogTimeOptimizer.DEFAULTS,
        "betas": schedules.BETAS,
        "kappa": schedules.KAPPA,
        "delta": schedules.DELTA,
        "momentum_scale": 1.0,
    }

    def slow(self, group: Mapping[str, Any], t: Any) -> tuple[Any, Any]:
        """Return the weight of the newest gradient in the slow average, and its multiplier."""
        raise NotImplementedError

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        check_betas(group["betas"])
        check_range("kappa", group["kappa"], low=0.0, high=1.0)
        check_range("delta", group["delta"], low=0.0, low_open=True)
        check_range("momentum_scale", group["momentum_scale"], low=0.0)

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has; with beta1 = 0 there is no fast average."""
        return super().form(group)._replace(fast=group["betas"][0] > 0, corrected=True)

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        beta1, beta2 = group["betas"]
        weight, alpha = self.slow(group, t)
        return Hyper(
            **self.step_numbers(group, t),
            ema_fast=1 - beta1,
            ema_m=weight,
            ema_v=1 - beta2,
            grad=1 / schedules.constant_total_weight(t, beta1),
            momentum=group["momentum_scale"] * alpha,
            root=schedules.constant_total_weight(t, beta2) ** -0.5,
        )


class AdEMAMix(_TwoAverages):
    """AdEMAMix (arXiv 2409.03137): AdamW plus a slow average that is warmed up over training.

    At step t (from 1), with T = total_steps::

        f <- f + (1 - beta1) (g - f)                     the fast average
        m <- m + (1 - beta3(t)) (g - m)                  the slow one
        v <- v + (1 - beta2) (g^2 - v)
        u  = (f / (1 - beta1^t) + alpha(t) m) / (sqrt(v) / sqrt(1 - beta2^t) + eps)
        p <- p - gamma(t) * omega / T * p - lr * u

    `beta3(t)` grows to `beta3` with a half-life on a straight line, `alpha(t)` to `alpha` on a
    straight line, both over `warmup_steps`. With the defaults the slow average is nearly a log-time
    one (its weight is close to `8/(t + 80)`), but its schedules are tied to the horizon.

    Args:
        params: parameters, named parameters or groups, as for any `torch.optim` optimizer.
        lr: peak learning rate.
        betas: decay rates of the fast average and of v, each in [0, 1). Default (0.9, 0.999).
            beta1 = 0 puts the gradient in the place of the fast average and saves its state.
        total_steps: number of optimizer steps T planned. Needed: schedules and decay depend on it.
        beta3: decay rate that the slow average ends with. Default 1 - delta / T.
        alpha: multiplier that the slow average ends with. Default T^(1 - kappa).
        warmup_steps: length of both warm-ups in steps. Default T.
        kappa, delta: give the defaults of alpha and beta3 (0.85 and 8: arXiv 2602.05298).
        momentum_scale: factor on alpha(t). Default 1.
        omega: weight-decay strength, >= 0; AdamW's is lr * weight_decay * T. Default 4.
        decay: "constant" (default, as published) or "log-time", omega / (decay_offset + t).
        decay_offset: S in steps of log-time decay. Default as for `ADana`.
        eps: added to the bias-corrected sqrt(v). Default 1e-8.
        decay_order: "before" (default, as the authors') or "after".
        peak_lr: the highest learning rate of the run; resolved as for `ADana`.
        foreach, fused, maximize, capturable, differentiable, state_dtype,
            bf16_weights, seed: as for `ADana`.

    Raises:
        ValueError: a hyperparameter is out of range or not finite, or total_steps is missing.
        RuntimeError, TypeError: as for `ADana`.

    State: 3 float32 tensors of the parameter's shape (2 with beta1 = 0).

    Source: spec/optimizers.md section 7, spec/plrf.md section 11.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **_TwoAverages.DEFAULTS,
        "decay": "constant",
        "beta3": None,
        "alpha": None,
        "warmup_steps": None,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        betas: tuple[float, float] = schedules.BETAS,
        beta3: float | None = None,
        alpha: float | None = None,
        warmup_steps: float | None = None,
        kappa: float = schedules.KAPPA,
        delta: float = schedules.DELTA,
        momentum_scale: float = 1.0,
        **common: Unpack[CommonArguments],
    ) -> None:
        super().__init__(
            params,
            lr,
            betas=betas,
            beta3=beta3,
            alpha=alpha,
            warmup_steps=warmup_steps,
            kappa=kappa,
            delta=delta,
            momentum_scale=momentum_scale,
            **common,
        )

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        if group["total_steps"] is None:
            raise ValueError(
                "AdEMAMix's schedules depend on the horizon: pass total_steps, the number of "
                "optimizer steps planned. adana.LogAdEMAMix needs none."
            )
        super().check_group(group)
        if group["delta"] >= group["total_steps"] and group["beta3"] is None:
            raise ValueError(
                f"beta3 = 1 - delta/total_steps needs delta below total_steps, got delta="
                f"{group['delta']} and total_steps={group['total_steps']}"
            )
        for name, high in (("beta3", 1.0), ("alpha", float("inf")), ("warmup_steps", float("inf"))):
            if group[name] is not None:
                check_range(name, group[name], low=0.0, high=high, low_open=True, high_open=True)

    def slow(self, group: Mapping[str, Any], t: Any) -> tuple[Any, Any]:
        """Return the weight of the newest gradient in the slow average, and its multiplier."""
        total = group["total_steps"]
        warmup = total if group["warmup_steps"] is None else group["warmup_steps"]
        beta3 = 1 - group["delta"] / total if group["beta3"] is None else group["beta3"]
        alpha = total ** (1 - group["kappa"]) if group["alpha"] is None else group["alpha"]
        beta = schedules.ademamix_beta(t, group["betas"][0], beta3, warmup)
        return 1 - beta, schedules.ademamix_alpha(t, alpha, warmup)


class LogAdEMAMix(_TwoAverages):
    """AdEMAMix with log-time schedules: no horizon, no warm-up.

    As `AdEMAMix`, but the slow average has weight `delta / (delta + t)` and the multiplier
    `momentum_scale * (1 + t)^(1 - kappa)` at every step, and decay is log-time. What AdEMAMix
    reaches at the end of its warm-ups is so at every step (arXiv 2602.05298, lemma J.1;
    spec/optimizers.md section 7).

    Args:
        params: parameters, named parameters or groups, as for any `torch.optim` optimizer.
        lr: peak learning rate. No law was published for this update.
        betas: decay rates of the fast average and of v, each in [0, 1). Default (0.9, 0.999).
        kappa, delta, momentum_scale, omega, total_steps, decay_offset, decay, eps: as for `ADana`.
        decay_order: "before" (default) or "after".
        peak_lr, foreach, fused, maximize, capturable, differentiable, state_dtype,
            bf16_weights, seed: as for `ADana`.

    Raises:
        ValueError: a hyperparameter is out of range or not finite.
        RuntimeError, TypeError: as for `ADana`.

    State: 3 float32 tensors of the parameter's shape (2 with beta1 = 0).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        betas: tuple[float, float] = schedules.BETAS,
        kappa: float = schedules.KAPPA,
        delta: float = schedules.DELTA,
        momentum_scale: float = 1.0,
        **common: Unpack[CommonArguments],
    ) -> None:
        super().__init__(
            params,
            lr,
            betas=betas,
            kappa=kappa,
            delta=delta,
            momentum_scale=momentum_scale,
            **common,
        )

    def slow(self, group: Mapping[str, Any], t: Any) -> tuple[Any, Any]:
        """Return the weight of the newest gradient in the slow average, and its multiplier."""
        weight = schedules.ema_weight(t, group["delta"])
        return weight, schedules.damping(t, group["kappa"])
