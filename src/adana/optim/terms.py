"""The terms that members of the Dana family add to ADana, as classes to be combined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from adana import schedules
from adana.checks import check_range
from adana.optim.damped import DampedMomentum
from adana.optim.update import Form, Hyper


def check_clip(name: str, value: Any) -> None:
    """Raise `ValueError` unless a clip is positive; `math.inf` means no clip."""
    check_range(name, value, low=0.0, low_open=True, finite=False)


class ClippedMomentum(DampedMomentum):
    """The damped momentum is clipped at `clip_snr` units of the denominator."""

    DEFAULTS: ClassVar[dict[str, Any]] = {**DampedMomentum.DEFAULTS, "clip_snr": None}

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        if group["clip_snr"] is not None:
            check_clip("clip_snr", group["clip_snr"])

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return super().form(group)._replace(clip=group["clip_snr"] != math.inf)

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        clip = group["clip_snr"]
        if clip is None:
            clip = schedules.default_clip_snr(group["kappa"])
        return super().hyper(group, t)._replace(clip=clip / self.growth(group, t))


class EffectiveTime(DampedMomentum):
    """Each coordinate's activity scales its step and replaces time in the momentum."""

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return super().form(group)._replace(tau=True)

    def growth(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return what multiplies m at step t in all coordinates: the update grows it in each."""
        return 1.0

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        h = super().hyper(group, t)
        return h._replace(
            t=t,
            exponent=1 - group["kappa"],
            shift=self.VARIANTS[group["variant"]].shift,
        )
