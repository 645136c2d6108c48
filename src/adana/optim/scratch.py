"""Scratch memory on a CPU, where fresh memory costs more than computing in it.

It comes from the operating system page by page, so that a step which allocates its temporaries anew
spends more time on that than on arithmetic. Other devices have allocators that avoid this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors


class _Kept(threading.local):
    """This thread's memory, by dtype."""

    def __init__(self) -> None:
        self.buffers: dict[torch.dtype, Tensor] = {}


_kept = _Kept()
LARGE = 1 << 15
"""Elements of a tensor from which its memory comes fresh from the operating system."""


def temporaries(tensors: list[Tensor], count: int) -> Sequence[list[Tensor] | None]:
    """Return `count` lists of uninitialised tensors shaped as `tensors`, or `count` Nones.

    They share memory with those returned before in this thread, which is kept for the next call.
    Nones where new memory is as good: not ordinary contiguous tensors on a CPU, or small ones.
    """
    size, like = sum(x.numel() for x in tensors), tensors[0]
    if size < LARGE * len(tensors) or not all(_ordinary(x) for x in tensors):
        return [None] * count
    parts = _buffer(like.dtype, count * size).split(size)
    return [list(_unflatten_dense_tensors(part, tensors)) for part in parts]


def slices(tensors: Sequence[Tensor], limit: int) -> Iterator[tuple[Tensor, ...]] | None:
    """Return an iterator over flat views of at most `limit` elements of all the tensors at once.

    None where they do not lie alike and without gaps in memory.
    """
    first = tensors[0]
    alike = all(x.shape == first.shape and x.stride() == first.stride() for x in tensors)
    if not (alike and dense(first)):
        return None
    flat = [x.as_strided((first.numel(),), (1,)) for x in tensors]
    return zip(*(x.split(limit) for x in flat), strict=True)


def release() -> None:
    """Give back this thread's scratch memory."""
    _kept.buffers.clear()


def _ordinary(x: Tensor) -> bool:
    """Return whether `x` lies in order in a CPU's memory, and is no subclass that only says so."""
    plain = type(x) in (Tensor, torch.nn.Parameter)
    return plain and x.device.type == "cpu" and x.is_contiguous()


def dense(x: Tensor) -> bool:
    """Return whether the elements fill one stretch of memory, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _buffer(dtype: torch.dtype, size: int) -> Tensor:
    """Return `size` elements of the memory that is kept, which grows as needed."""
    kept = _kept.buffers
    if dtype not in kept or kept[dtype].numel() < size:
        with torch.inference_mode(False):  # else it would be of no use outside of it
            kept[dtype] = torch.empty(size, dtype=dtype)
    return kept[dtype][:size]
