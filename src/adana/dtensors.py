"""Sharded tensors, for code that mostly meets others.

Importing `torch.distributed.tensor` takes a third of the time that torch itself takes. Here nothing
does it before someone else has: where a `DTensor` is at hand.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_dtensor(x: object) -> TypeGuard[DTensor]:
    """Return whether `x` is a `DTensor`: there are none where nobody has imported their module.

    Compiled code runs through here. It would be told that a `DTensor` has no `full_tensor`.
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Tensor) -> Tensor:
    """Return the part of `x` that this process holds; a view, so that updates reach `x`."""
    return x.to_local() if is_dtensor(x) else x


def whole(x: Tensor) -> Tensor:
    """Return all of `x`, from all processes that hold a part of it."""
    return x.full_tensor() if is_dtensor(x) else x


def as_part_of(p: Tensor, mine: Tensor) -> Tensor:
    """Return a tensor sharded as `p` is, of which `mine` is this process's part."""
    if not is_dtensor(p):
        return mine
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    return DTensor.from_local(
        mine, p.device_mesh, p.placements, run_check=False, shape=p.shape, stride=p.stride()
    )
