"""What the members with log-time averages and a damped momentum share: ADana and the Dana family.

One base with the schedules and the variants; a member adds a term (a clip, the activity estimate).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from adana import schedules
from adana.checks import check_choice, check_range
from adana.optim.base import LogTimeOptimizer
from adana.optim.scheduled import CommonArguments, DecayOrder
from adana.optim.update import Form, Hyper

Variant = Literal["paper", "released"]


class Source(NamedTuple):
    """What a variant stands for."""

    extra_momentum: float
    """c: how many times m is added besides the damped momentum."""
    decay_order: DecayOrder
    shift: float = 1.0
    """Added to the effective time before the power (Star variants)."""


class DampedArguments(CommonArguments, total=False):
    """Keyword arguments that ADana and the Dana family share, documented at `ADana`."""

    kappa: float
    delta: float
    momentum_scale: float
    variant: Variant
    extra_momentum: float | None
    first_step: Literal[0, 1]
    momentum_cooldown: float


class DampedMomentum(LogTimeOptimizer):
    """Log-time averages with a damped momentum; subclasses choose terms and variants."""

    VARIANTS: ClassVar[dict[str, Source]]
    """The sources a subclass can follow; the first is the default."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **LogTimeOptimizer.DEFAULTS,
        "kappa": schedules.KAPPA,
        "delta": schedules.DELTA,
        "momentum_scale": 1.0,
        "variant": "paper",
        "extra_momentum": None,
        "decay_order": None,
        "first_step": 1,
        "momentum_cooldown": 0.0,
    }

    def resolve_group(self, group: dict[str, Any]) -> None:
        """Fill in what the variant decides, and what the base decides."""
        super().resolve_group(group)
        source = self.VARIANTS.get(group["variant"])
        if source is None:
            return  # check_group names the mistake
        if group["extra_momentum"] is None:
            group["extra_momentum"] = source.extra_momentum
        if group["decay_order"] is None:
            group["decay_order"] = source.decay_order

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        check_choice("variant", group["variant"], tuple(self.VARIANTS))
        super().check_group(group)
        check_range("kappa", group["kappa"], low=0.0, high=1.0)
        check_range("delta", group["delta"], low=0.0, low_open=True)
        check_range("momentum_scale", group["momentum_scale"], low=0.0)
        check_range("extra_momentum", group["extra_momentum"], low=0.0)
        check_range("momentum_cooldown", group["momentum_cooldown"], low=0.0, high=1.0)
        check_choice("first_step", group["first_step"], (0, 1))
        if group["momentum_cooldown"] > 0 and group["total_steps"] is None:
            raise ValueError("momentum_cooldown is a fraction of total_steps: pass total_steps")

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return super().form(group)._replace(extra=group["extra_momentum"] > 0)

    def index(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return the step that averages and damping count: from 1, or from 0 if so asked."""
        return t - 1 + group["first_step"]

    def momentum_factor(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return what scales the whole momentum term: `momentum_scale`, cooled down at the end."""
        scale = group["momentum_scale"]
        if group["momentum_cooldown"] == 0:
            return scale
        total = group["total_steps"]
        return scale * schedules.momentum_cooldown(t, total, group["momentum_cooldown"] * total)

    def growth(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return the damping alpha(t), which multiplies m before `momentum_factor` scales it."""
        return schedules.damping(self.index(group, t), group["kappa"])

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        index = self.index(group, t)
        weight = schedules.ema_weight(index, group["delta"])
        factor = self.momentum_factor(group, t)
        return Hyper(
            **self.step_numbers(group, t),
            ema_m=weight,
            ema_v=weight,
            grad=1.0,
            momentum=factor * self.growth(group, t),
            extra=factor * group["extra_momentum"],
        )
