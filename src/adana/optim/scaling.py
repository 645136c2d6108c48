"""Factors on the gradients that a step applies itself, so that nothing has to rewrite them.

Mixed precision divides gradients by the scale of the loss and skips the step where they overflowed;
clipping multiplies them by one number. Both are scalars, and the update multiplies by `Hyper.scale`
anyway. Here they become that number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.dtensors import whole
from adana.optim.storage import STEP
from adana.optim.update import Hyper
from adana.optim.work import Work

EPS = 1e-6
"""Added to a norm before division, as in `torch.nn.utils.clip_grad_norm_`."""


class Clip(NamedTuple):
    """What `clip_grad_norm` leaves for the next step."""

    norm: Tensor
    """Of all gradients as they were, 0-d."""
    max_norm: float


class Scaling(NamedTuple):
    """What a step does to all gradients, and whether it happens."""

    factor: float | Tensor | None = None
    """Multiplier; None where gradients are taken as they are."""
    skip: bool | Tensor = False
    """Whether the step changes nothing; a 0-d tensor where the host is not to know."""

    def of(self, work: Work) -> Work:
        """Return `work` with its numbers scaled; counters go back where the step is skipped."""
        device = work.params[0].device
        if isinstance(self.skip, Tensor):
            skip = self.skip.to(device, non_blocking=True)
            for state in work.states:
                state[STEP].sub_(skip.to(state[STEP]))
            work = work._replace(skip=skip)
        if self.factor is None:
            return work._replace(scaled=bool(work.group["maximize"]))
        return work._replace(scaled=True, hyper=_scaled(work.hyper, self.factor, device))


def _scaled(hyper: Hyper | Tensor, factor: float | Tensor, device: torch.device) -> Hyper | Tensor:
    """Return the numbers of a step with `scale` multiplied by `factor`."""
    if isinstance(factor, Tensor):
        factor = factor.to(device, non_blocking=True)
    if isinstance(hyper, Hyper):
        return hyper._replace(scale=hyper.scale * factor)
    column = hyper[..., Hyper._fields.index("scale")]
    column.mul_(factor.to(column.dtype) if isinstance(factor, Tensor) else factor)
    return hyper


def scaling_of(optimizer: Any, clip: Clip | None) -> Scaling:
    """Return what the coming step of `optimizer` does to its gradients.

    A `torch.amp.GradScaler` leaves `grad_scale` and `found_inf` on the optimizer. Whether to skip
    is read, as the scaler itself would, unless all groups are capturable. What is on a device stays
    there otherwise.
    """
    wait = not all(group["capturable"] for group in optimizer.param_groups)
    found_inf, divisor = (_whole(getattr(optimizer, x, None)) for x in ("found_inf", "grad_scale"))
    skip: bool | Tensor = False
    if found_inf is not None:
        skip = bool(found_inf > 0) if wait else found_inf > 0
    factor = None if divisor is None else divisor.double().reciprocal()
    if clip is not None:
        norm = clip.norm.double()
        norm = norm if factor is None else norm * factor.to(norm.device, non_blocking=True)
        within = (clip.max_norm / (norm + EPS)).clamp(max=1.0)
        factor = within if factor is None else within * factor.to(norm.device, non_blocking=True)
    if factor is not None and wait and (factor.device.type == "cpu" or optimizer.host is not None):
        return Scaling(float(factor), skip)
    return Scaling(factor, skip)


def refuse_scaler(optimizer: Any, why: str) -> None:
    """Raise where the step that begins is that of a `GradScaler`, which then leaves no trace."""
    if getattr(optimizer, "found_inf", None) is not None:
        for name in ("found_inf", "grad_scale"):
            vars(optimizer).pop(name, None)
        raise RuntimeError(why)


def _whole(x: Any) -> Tensor | None:
    """Return a scalar of a scaler as a plain tensor."""
    if x is None:
        return None
    return whole(torch.as_tensor(x))
