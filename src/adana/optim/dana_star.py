"""Dana-Star and Dana-Star-MK4: momentum that counts time by each coordinate's own activity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from adana.optim.damped import DampedArguments, Source
from adana.optim.terms import ClippedMomentum, EffectiveTime, check_clip
from adana.optim.update import Form, Hyper


class DanaStar(EffectiveTime):
    r"""Dana-Star (arXiv 2602.05298): ADana for coordinates that are active now and then.

    With m, v, a_t and D = sqrt(v) + eps as in `ADana`::

        tau <- tau + a_t (|g| / (|g| + D) - tau)
        r  = max(x / (1 - x), 1 / (1 + t)),  x = min(tau, 1/2)
        q  = max(tau * t, 1)
        u  = sqrt(r) / D * (g + momentum_scale * (1 + q)^(1 - kappa) * m)
        p <- p - gamma(t) * omega / (decay_offset + t) * p - lr * u

    r estimates the probability that the coordinate's gradient is not zero (rows of an embedding,
    experts), and q how many steps it was active. Dense coordinates settle at r = 0.63, so that the
    step is 0.79 of ADana's.

    Args:
        params: as for `ADana`.
        lr: peak learning rate. No law was published for this update.
        grad_clip_snr: clip of the gradient term's signal-to-noise ratio, > 0: g is scaled by
            `min(1, grad_clip_snr * sqrt(v) / (sqrt(r) |g| + eps))`. Default `math.inf`: no clip.
            The authors' class behind this default had 2.0.
        shared: all other arguments of `ADana`. variant="paper" (default) is the authors' first
            torch class and their JAX code, which their README links: above. variant="released" is
            their released code: momentum `(1 + q^(1 - kappa)) m` and decay after the update. The
            sources disagree on the gradient clip too, which the default leaves off, and the JAX
            code has delta 6 (spec/optimizers.md section 4).

    Raises:
        ValueError, RuntimeError, TypeError: as for `ADana`.

    State: 3 float32 tensors of the parameter's shape.
    """

    VARIANTS: ClassVar[dict[str, Source]] = {
        "paper": Source(extra_momentum=0.0, decay_order="before", shift=1.0),
        "released": Source(extra_momentum=1.0, decay_order="after", shift=0.0),
    }
    DEFAULTS: ClassVar[dict[str, Any]] = {**EffectiveTime.DEFAULTS, "grad_clip_snr": math.inf}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        grad_clip_snr: float = math.inf,
        **shared: Unpack[DampedArguments],
    ) -> None:
        super().__init__(params, lr, grad_clip_snr=grad_clip_snr, **shared)

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        super().check_group(group)
        check_clip("grad_clip_snr", group["grad_clip_snr"])

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return super().form(group)._replace(grad_clip=group["grad_clip_snr"] != math.inf)

    def hyper(self, group: Mapping[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        return super().hyper(group, t)._replace(grad_clip=group["grad_clip_snr"])


class DanaStarMK4(ClippedMomentum, EffectiveTime):
    r"""Dana-Star-MK4 (arXiv 2602.05298): Dana-Star with Dana-MK4's clip.

    With tau, r and q as in `DanaStar` and n = sqrt(r) / D::

        f  = clamp(q^(1 - kappa) * m * n, -clip_snr * r, clip_snr * r)
        u  = g * n + momentum_scale * (f + extra_momentum * m * n)
        p <- p - gamma(t) * omega / (decay_offset + t) * p - lr * u

    Args:
        params: as for `ADana`.
        lr: peak learning rate (published laws: spec/training.md section 3.1).
        clip_snr: as for `DanaMK4`, in units of r.
        shared: all other arguments of `ADana`, but `extra_momentum` is 1 in both variants, as in
            all code that ran under this name. variant="paper" (default) decays before the update,
            "released" after it.

    Raises:
        ValueError, RuntimeError, TypeError: as for `ADana`.

    State: 3 float32 tensors of the parameter's shape.
    """

    VARIANTS: ClassVar[dict[str, Source]] = {
        "paper": Source(extra_momentum=1.0, decay_order="before", shift=0.0),
        "released": Source(extra_momentum=1.0, decay_order="after", shift=0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        clip_snr: float | None = None,
        **shared: Unpack[DampedArguments],
    ) -> None:
        super().__init__(params, lr, clip_snr=clip_snr, **shared)
