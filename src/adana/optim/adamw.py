"""AdamW with log-time weight decay: what remains of ADana when only the decay is changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from adana import schedules
from adana.optim.base import EPS, DecayOrder, LogTimeOptimizer, check_range
from adana.optim.update import Hyper

BETAS = (0.9, 0.999)
"""Default of betas: the reference's AdamW runs (spec/optimizers.md section 6)."""


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
        decay_order: "before" (default, as ADana and `torch.optim.AdamW`: decay and update both use
            the old weights) or "after" (the authors' code).
        peak_lr: the highest learning rate of the run; resolved as for `ADana`.
        foreach: update lists of tensors at once (default) instead of one after another.
        maximize: ascend instead of descend.

    Raises:
        ValueError: a hyperparameter is out of range or not finite.
        RuntimeError: complex parameters, or sparse gradients at `step`.

    Source: spec/optimizers.md section 6.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        betas: tuple[float, float] = BETAS,
        omega: float = schedules.OMEGA,
        total_steps: float | None = None,
        decay_offset: float | None = None,
        eps: float = EPS,
        decay_order: DecayOrder = "before",
        peak_lr: float | None = None,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            omega=omega,
            total_steps=total_steps,
            decay_offset=decay_offset,
            eps=eps,
            decay_order=decay_order,
            peak_lr=peak_lr,
            foreach=foreach,
            maximize=maximize,
            betas=betas,
        )

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        if len(group["betas"]) != 2:
            raise ValueError(f"betas must be two numbers, got {group['betas']!r}")
        for i, beta in enumerate(group["betas"], start=1):
            check_range(f"beta{i}", beta, low=0.0, high=1.0, high_open=True)

    def hyper(self, group: dict[str, Any], t: int) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        beta1, beta2 = group["betas"]
        decay = schedules.log_time_decay(t, group["omega"], group["decay_offset"])
        return Hyper(
            ema_m=1 - beta1,
            ema_v=1 - beta2,
            grad=0.0,
            momentum=1 / (1 - beta1**t),
            root=(1 - beta2**t) ** -0.5,
            eps=group["eps"],
            lr=float(group["lr"]),
            decay=self.gamma(group) * decay,
        )
