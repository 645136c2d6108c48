"""The state tensors of a parameter: how they are made, and how they survive being loaded.

The update reads and writes tensors of at least 32 bits; nothing else in the package knows how they
are kept. Counters are integers: they never have the parameter's dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors
from torch.distributed.tensor import DTensor

STEP = "step"
"""Name of the step counter in a parameter's state: int64, 0-d, on the CPU unless capturable."""


def working_dtype(p: Tensor) -> torch.dtype:
    """Return the dtype in which a parameter is updated: its own, but at least float32."""
    return torch.promote_types(p.dtype, torch.float32)


def new_state(p: Tensor, names: Iterable[str], *, capturable: bool) -> dict[str, Tensor]:
    """Return a fresh state for `p`: the counter and a tensor of zeros for each name.

    The tensors have `p`'s shape, layout and sharding, and the working dtype.
    """
    device = p.device if capturable else torch.device("cpu")
    state = {STEP: torch.zeros((), dtype=torch.int64, device=device)}
    for name in names:
        state[name] = torch.zeros_like(
            p, dtype=working_dtype(p), memory_format=torch.preserve_format
        )
    return state


def restored(
    saved: Mapping[str, Any],
    current: dict[str, Any],
    p: Tensor,
    names: Iterable[str],
    *,
    capturable: bool,
) -> dict[str, Any]:
    """Return `current` with every tensor a copy of the `saved` one in its dtype, on `p`'s device.

    `torch.optim.Optimizer.load_state_dict` casts all of a state to the parameter's dtype, which
    loses float32 moments and integer codes of bfloat16 parameters, and shares what it need not
    cast with the state dict, which a second load would then find changed. This undoes both. The
    state tensors in `names` come in the dtype that `p` is updated in, so that a checkpoint of a
    float32 model goes on in float64 and back.
    """
    kept = dict(current)
    for name, value in saved.items():
        if not isinstance(value, Tensor):
            continue
        if name == STEP:
            device = p.device if capturable else torch.device("cpu")
            kept[name] = value.detach().to(device=device, dtype=torch.int64, copy=True)
        else:
            dtype = working_dtype(p) if name in names else value.dtype
            kept[name] = value.detach().to(device=p.device, dtype=dtype, copy=True)
    return kept


class Spare:
    """Temporaries that are allocated once a step and used again for each piece of it.

    Large ones on a CPU only: there, allocating them anew costs more than computing with them,
    because fresh memory comes from the operating system page by page. Elsewhere new memory is
    cheaper than the copies that reuse needs.
    """

    LARGE: ClassVar[int] = 1 << 15
    """Elements of a tensor from which its memory comes fresh from the operating system."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def like(self, tensors: list[Tensor], count: int) -> Sequence[list[Tensor] | None]:
        """Return `count` lists of uninitialised tensors shaped as `tensors`.

        They share memory with those returned before. Nones where new memory is cheaper, and
        for tensors of another layout, which mixing layouts would slow down.
        """
        size = sum(x.numel() for x in tensors)
        like = tensors[0]
        small = size < self.LARGE * len(tensors)
        if like.device.type != "cpu" or small or not all(x.is_contiguous() for x in tensors):
            return [None] * count
        fits = self._buffer.dtype == like.dtype and self._buffer.device == like.device
        if not fits or self._buffer.numel() < count * size:
            self._buffer = like.new_empty(count * size)
        parts = self._buffer[: count * size].split(size)
        return [list(_unflatten_dense_tensors(part, tensors)) for part in parts]


def local(x: Tensor) -> Tensor:
    """Return the part of `x` that this process holds; a view, so that updates reach `x`."""
    return x.to_local() if isinstance(x, DTensor) else x


def local_like(x: Tensor, p: Tensor) -> Tensor:
    """Return this process's part of `x`, laid out as `p` is."""
    if isinstance(p, DTensor) and isinstance(x, DTensor) and x.placements != p.placements:
        x = x.redistribute(p.device_mesh, p.placements)
    return local(x)
