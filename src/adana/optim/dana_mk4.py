"""Dana-MK4: ADana whose momentum is clipped where its signal-to-noise ratio is large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Unpack

from torch import Tensor

from adana.optim.damped import DampedArguments, Source
from adana.optim.terms import ClippedMomentum


class DanaMK4(ClippedMomentum):
    r"""Dana-MK4 (arXiv 2602.05298): ADana with an element-wise clip on the damped momentum.

    At step t (from 1), with m, v, a_t and D = sqrt(v) + eps as in `ADana`::

        f  = clamp((1 + t)^(1 - kappa) * m / D, -clip_snr, clip_snr)
        u  = g / D + momentum_scale * (f + extra_momentum * m / D)
        p <- p - gamma(t) * omega / (decay_offset + t) * p - lr * u

    `|m| / D` is at most about 1 and measures how steady the gradient of a weight is; the clip
    bounds what steady weights gain from the growing momentum.

    Args:
        params: as for `ADana`.
        lr: peak learning rate; the published laws are close to ADana's at kappa 0.85.
        clip_snr: largest damped momentum in units of D, > 0; `math.inf` never clips. Default by
            kappa: 2.0 up to 0.75, 0.25 from 0.85 on, in between geometric
            (`schedules.default_clip_snr`; the values of the published runs). The released
            launcher's 2.0 at kappa 0.85 hardly ever binds (spec/optimizers.md section 2).
        shared: all other arguments of `ADana`, with the same defaults but one: `extra_momentum` is
            1 in both variants, as in all code that ran under this name. variant="paper" (default)
            decays before the update, as the family does here; "released" after it, as the authors'
            code always did. `extra_momentum=0` is ADana with a clip.

    Raises:
        ValueError, RuntimeError, TypeError: as for `ADana`.

    State: 2 float32 tensors of the parameter's shape.
    """

    VARIANTS: ClassVar[dict[str, Source]] = {
        "paper": Source(extra_momentum=1.0, decay_order="before"),
        "released": Source(extra_momentum=1.0, decay_order="after"),
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
