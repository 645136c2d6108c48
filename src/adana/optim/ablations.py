"""ADana with a part replaced: the configurations that show what each part is for.

Arrangements of the family's own terms, for studies; nobody should train with them. Names, terms and
what happened to them in the paper: spec/optimizers.md section 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Unpack

from torch import Tensor

from adana import schedules
from adana.checks import check_choice, check_flag, check_range
from adana.optim.damped import DampedArguments, DampedMomentum, Source
from adana.optim.update import Form, Hyper

Gradient = Literal["raw", "average", "none"]
Momentum = Literal["damped", "constant", "undamped", "nesterov"]


class AblatedADana(DampedMomentum):
    """ADana with its gradient term, its momentum multiplier or its second moment replaced.

    At step t: `u = (e + momentum_scale * alpha(t) * m) / (sqrt(v) + eps)` with m as in `ADana`.

    Args:
        params, lr: as for `ADana`.
        gradient: what e is: the "raw" gradient, a short "average" of it with decay rate
            `average_beta` and no bias correction, or "none".
        momentum: what alpha(t) is: "damped" `(1 + t)^(1 - kappa)`, "constant" 1 (so that
            `momentum_scale` is the constant), "undamped" `delta + t`, or "nesterov"
            `(delta + t) / delta`.
        beta2: decay rate of a constant-memory v. Default None: log-time.
        correction: whether a constant `beta2` is bias-corrected. Default True; False for the
            historical `dana` class of the paper's figure 5.
        average_beta: decay rate of the short average. Default 0.9.
        shared: all other arguments of `ADana`; only variant="paper" exists.

    Raises:
        ValueError, RuntimeError, TypeError: as for `ADana`.

    State: 2 float32 tensors of the parameter's shape, 3 with gradient="average".
    """

    VARIANTS: ClassVar[dict[str, Source]] = {
        "paper": Source(extra_momentum=0.0, decay_order="before")
    }
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **DampedMomentum.DEFAULTS,
        "gradient": "raw",
        "momentum": "damped",
        "beta2": None,
        "correction": True,
        "average_beta": schedules.BETAS[0],
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        gradient: Gradient = "raw",
        momentum: Momentum = "damped",
        beta2: float | None = None,
        correction: bool = True,
        average_beta: float = schedules.BETAS[0],
        **shared: Unpack[DampedArguments],
    ) -> None:
        super().__init__(
            params,
            lr,
            gradient=gradient,
            momentum=momentum,
            beta2=beta2,
            correction=correction,
            average_beta=average_beta,
            **shared,
        )

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        check_choice("gradient", group["gradient"], ("raw", "average", "none"))
        check_choice("momentum", group["momentum"], ("damped", "constant", "undamped", "nesterov"))
        check_flag("correction", group["correction"])
        check_range("average_beta", group["average_beta"], low=0.0, high=1.0, high_open=True)
        if group["beta2"] is not None:
            check_range("beta2", group["beta2"], low=0.0, high=1.0, high_open=True)

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return (
            super()
            .form(group)
            ._replace(
                gradient=group["gradient"] != "none",
                fast=group["gradient"] == "average",
                corrected=group["beta2"] is not None and group["correction"],
            )
        )

    def growth(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return what multiplies m at step t."""
        index, delta = self.index(group, t), group["delta"]
        kinds = {
            "damped": lambda: schedules.damping(index, group["kappa"]),
            "constant": lambda: 1.0,
            "undamped": lambda: schedules.undamped(index, delta),
            "nesterov": lambda: schedules.nesterov(index, delta),
        }
        if group["momentum"] not in kinds:
            raise ValueError(
                f"something has overwritten momentum by {group['momentum']!r}, expected one of "
                f"{', '.join(kinds)}; OneCycleLR and CyclicLR need cycle_momentum=False"
            )
        return kinds[group["momentum"]]()

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        h = super().hyper(group, t)._replace(ema_fast=1 - group["average_beta"])
        beta2 = group["beta2"]
        if beta2 is None:
            return h
        root = schedules.constant_total_weight(t, beta2) ** -0.5 if group["correction"] else 1.0
        return h._replace(ema_v=1 - beta2, root=root)


ABLATIONS: dict[str, dict[str, Any]] = {
    "log-adamw": {"gradient": "none", "momentum": "constant"},
    "log-nadamw": {"momentum": "undamped"},
    "log-nadamw-nesterov": {"momentum": "nesterov"},
    "adana-no-gradient": {"gradient": "none"},
    "adana-short-average": {"gradient": "average"},
    "adana-constant-beta2": {"beta2": schedules.BETAS[1]},
    "adana-constant-alpha": {"momentum": "constant"},
    "dana-figure-5": {
        "gradient": "average",
        "beta2": schedules.BETAS[1],
        "correction": False,
        "kappa": 0.0,
        "decay": "constant",
    },
}
"""The ablations by name, as arguments of `AblatedADana`. `dana-figure-5` is the historical class of
the paper's sweep of `alpha(t) = momentum_scale * (1 + t)`."""
