"""What the engine has to know of an optimizer to train with it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import nn

from adana import schedules
from adana.train.config import OPTIONAL, OptimizerConfig

Builder = Callable[[nn.Module, OptimizerConfig, int], torch.optim.Optimizer]
"""Makes an optimizer for a model from its configuration and the number of steps T."""
Decay = Literal["log-time", "coupled", "constant"]
HYPERPARAMETERS = ("kappa", "delta", "momentum_scale", *OPTIONAL)
"""Fields of `OptimizerConfig` that only some optimizers read."""


@dataclass(frozen=True)
class OptimizerEntry:
    """One optimizer that `--optimizer` knows: one of this package, or an installed package's.

    Example: docs/own-optimizer.md.

    Raises:
        ValueError: `reads`, `defaults` or `decay` names what does not exist.
        TypeError: `reads` is a text.
    """

    build: Builder
    """Called as `build(model, config, steps)` with the initial weights in place. The peak learning
    rate is `config.lr`; the schedule multiplies the `lr` of every group of the optimizer."""
    summary: str = ""
    """One line about it, for the error that lists those of this package."""
    reads: tuple[str, ...] = ()
    """Which of `HYPERPARAMETERS` it reads, beside lr and omega. It is tuned in these; the others
    are not given to it, or refused."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    """What those it reads are where they were not given, of those that may be left out (`OPTIONAL`
    in `adana.train.config`). `build` finds them in the configuration; without a default it finds
    None."""
    decay: Decay = "coupled"
    """How its weights decay: `omega/(S + t)`; by `lr * weight_decay` as AdamW's, with
    `coupled_decay(config, steps)` for the latter; or by `omega/T`. What is printed of decay, and a
    plan's AdamW-like `weight_decay`, go by it."""
    coded: bool = False
    """Whether it takes `state_dtype`."""

    def __post_init__(self) -> None:
        if isinstance(self.reads, str):
            raise TypeError(f"an optimizer's entry reads a tuple of names, got {self.reads!r}")
        unknown = [name for name in self.reads if name not in HYPERPARAMETERS]
        if unknown:
            raise ValueError(
                f"an optimizer's entry reads {', '.join(unknown)}, which is none of "
                f"{', '.join(HYPERPARAMETERS)}"
            )
        foreign = [name for name in self.defaults if name not in self.reads or name not in OPTIONAL]
        if foreign:
            raise ValueError(
                f"an optimizer's entry has defaults of {', '.join(foreign)}, which it does not "
                f"read or which is always given; those it may have are of {', '.join(OPTIONAL)}"
            )
        if self.decay not in get_args(Decay):
            raise ValueError(
                f"an optimizer's entry decays {self.decay!r}; expected {', '.join(get_args(Decay))}"
            )


def coupled_decay(config: OptimizerConfig, steps: int) -> float:
    """Return AdamW's `weight_decay` for the strength omega: `omega / (lr * steps)`.

    Raises:
        ValueError: it would remove whole weights at each step.
    """
    if config.omega >= steps:
        raise ValueError(
            f"omega {config.omega:g} over {steps} steps would make {config.name} remove whole "
            "weights at each step (omega / T of them). Train for more steps, or pass a smaller "
            "--omega."
        )
    return schedules.omega_to_weight_decay(config.omega, config.lr, steps)
