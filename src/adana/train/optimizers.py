"""The optimizers by name: how each is built from a configuration, and what it does at a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adana import schedules
from adana.optim import ADana, LogAdamW, param_groups
from adana.optim.base import EPS, LogTimeOptimizer
from adana.train.config import OptimizerConfig

Builder = Callable[[list[dict[str, Any]], OptimizerConfig, int], torch.optim.Optimizer]


@dataclass(frozen=True)
class Entry:
    """One optimizer that `--optimizer` knows."""

    build: Builder
    summary: str
    """One line about it, for the error that lists them."""
    log_time_averages: bool = False
    """Whether it reads `kappa` and `delta`."""


def _adamw(
    groups: list[dict[str, Any]], config: OptimizerConfig, steps: int
) -> torch.optim.Optimizer:
    if config.omega >= steps:
        raise ValueError(
            f"omega {config.omega:g} over {steps} steps would make AdamW remove whole weights at "
            "each step (omega / T of them). Train for more steps, or pass a smaller --omega."
        )
    weight_decay = schedules.omega_to_weight_decay(config.omega, config.lr, steps)
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=schedules.BETAS, eps=EPS, weight_decay=weight_decay
    )


def _log_adamw(
    groups: list[dict[str, Any]], config: OptimizerConfig, steps: int
) -> torch.optim.Optimizer:
    return LogAdamW(groups, config.lr, omega=config.omega, total_steps=steps)


def _adana(variant: Any) -> Builder:
    def build(
        groups: list[dict[str, Any]], config: OptimizerConfig, steps: int
    ) -> torch.optim.Optimizer:
        return ADana(
            groups,
            config.lr,
            kappa=config.kappa,
            delta=config.delta,
            omega=config.omega,
            total_steps=steps,
            variant=variant,
        )

    return build


OPTIMIZERS: dict[str, Entry] = {
    "adamw": Entry(_adamw, "torch.optim.AdamW, betas (0.9, 0.999), weight_decay = omega/(lr T)"),
    "adamw-log-decay": Entry(_log_adamw, "AdamW with log-time weight decay omega/(T/10 + t)"),
    "adana": Entry(_adana("paper"), "ADana, the published formula", log_time_averages=True),
    "adana-released": Entry(
        _adana("released"), "ADana as in the authors' released code", log_time_averages=True
    ),
}


def entry(name: str) -> Entry:
    """Return the optimizer called `name`; `ValueError` lists the known ones."""
    if name not in OPTIMIZERS:
        known = "\n".join(f"  {key:16} {known.summary}" for key, known in OPTIMIZERS.items())
        raise ValueError(f"unknown optimizer {name!r}, expected one of\n{known}")
    return OPTIMIZERS[name]


def build_optimizer(model: nn.Module, config: OptimizerConfig, steps: int) -> torch.optim.Optimizer:
    """Build the optimizer of `config` for a run of `steps` steps.

    Raises:
        ValueError: the name is unknown, or a hyperparameter is out of range.
    """
    return entry(config.name).build(param_groups(model), config, steps)


def set_gamma(optimizer: torch.optim.Optimizer, peak_lr: float, gamma: float) -> None:
    """Set the learning rate of every group to `peak_lr * gamma`."""
    for group in optimizer.param_groups:
        group["lr"] = peak_lr * gamma


def schedule_values(optimizer: torch.optim.Optimizer, gamma: float, t: int) -> dict[str, float]:
    """Return what the optimizer uses at step t for its first (decayed) group.

    Keys: gamma, lr, ema_m and ema_v (weight of the newest gradient in either moment), momentum
    (multiplier on m), decay (fraction of a weight removed in the step).
    """
    group = optimizer.param_groups[0]
    if isinstance(optimizer, LogTimeOptimizer):
        h = optimizer.hyper(group, t)
        values = {"ema_m": h.ema_m, "ema_v": h.ema_v, "decay": h.decay}
        values["momentum"] = h.momentum + h.extra
    else:
        beta1, beta2 = group["betas"]
        values = {
            "ema_m": 1 - beta1,
            "ema_v": 1 - beta2,
            "momentum": 1 / (1 - beta1**t),
            "decay": group["lr"] * group["weight_decay"],
        }
    return {"gamma": gamma, "lr": float(group["lr"]), **values}


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the optimizer's state tensors."""
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
