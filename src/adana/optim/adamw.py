"""AdamW with log-time weight decay: what remains of ADana when only the decay is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from adana import schedules
from adana.checks import check_betas
from adana.optim.base import LogTimeOptimizer
from adana.optim.scheduled import CommonArguments
from adana.optim.update import Form, Hyper


class LogAdamW(LogTimeOptimizer):
    """AdamW with constant betas and log-time weight decay ("AdamW (DW)" in arXiv 2602.05298).

    At step t (from 1)::

        m <- m + (1 - beta1) (g - m)
        v <- v + (1 - beta2) (g^2 - v)
        u  = (m / (1 - beta1^t)) / (sqrt(v) / sqrt(1 - beta2^t) + eps)
        p <- p - gamma(t) * omega / (decay_offset + t) * p - lr * u

    Not to be taken for the paper's instability ablation "Log-AdamW", which has log-time betas.

    Args:
        params: parameters, named parameters or groups, as for any `torch.optim` optimizer.
        lr: peak learning rate.
        betas: decay rates of m and v, each in [0, 1). Default (0.9, 0.999).
        omega: weight-decay strength, >= 0; AdamW's is lr * weight_decay * total_steps. Default 4.
        total_steps: number of optimizer steps planned, which sets the default `decay_offset`.
        decay_offset: S in steps. Default as for `ADana`.
        eps: added to the bias-corrected sqrt(v). Default 1e-8.
        decay: "log-time" (default), or "constant" for independent decay of omega / total_steps.
        decay_order: "before" (default, as ADana and `torch.optim.AdamW`: decay and update both use
            the old weights) or "after" (the authors' code).
        peak_lr: the highest learning rate of the run; resolved as for `ADana`.
        foreach, fused, maximize, capturable, differentiable, state_dtype,
            bf16_weights, seed: as for `ADana`.

    Raises:
        ValueError: a hyperparameter is out of range or not finite.
        RuntimeError, TypeError: as for `ADana`.

    State: 2 float32 tensors of the parameter's shape.

    Source: spec/optimizers.md section 6.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {**LogTimeOptimizer.DEFAULTS, "betas": schedules.BETAS}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        betas: tuple[float, float] = schedules.BETAS,
        **common: Unpack[CommonArguments],
    ) -> None:
        super().__init__(params, lr, betas=betas, **common)

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        check_betas(group["betas"])

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return super().form(group)._replace(gradient=False, corrected=True)

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        beta1, beta2 = group["betas"]
        return Hyper(
            **self.step_numbers(group, t),
            ema_m=1 - beta1,
            ema_v=1 - beta2,
            momentum=1 / schedules.constant_total_weight(t, beta1),
            root=schedules.constant_total_weight(t, beta2) ** -0.5,
        )
