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
    """This thread's memory, by purpose and dtype."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}


_kept = _Kept()


def temporaries(tensors: list[Tensor], count: int) -> Sequence[list[Tensor] | None]:
    """Return `count` lists of uninitialised tensors shaped as `tensors`, or `count` Nones.

    They share memory with those returned before in this thread, which is kept for the next call.
    Nones where new memory is as good, and for more than one tensor.
    """
    like = tensors[0]
    if len(tensors) > 1 or not _on_cpu(like) or not like.is_contiguous() or like.numel() == 0:
        return [None] * count
    size = like.numel()
    parts = _buffer("temporaries", like.dtype, count * size).split(size)
    return [[part.view(like.shape)] for part in parts]


def gathered(lists: Sequence[list[Tensor]]) -> list[Tensor]:
    """Return a flat copy of each list of tensors; all lists have the same shapes and dtype.

    Valid until the next call in this thread.
    """
    size = sum(x.numel() for x in lists[0])
    flat = [[x.reshape(-1) for x in tensors] for tensors in lists]
    if size == 0 or not all(_on_cpu(x) for tensors in lists for x in tensors):
        return [torch.cat(tensors) for tensors in flat]
    parts = _buffer("gathered", lists[0][0].dtype, len(lists) * size).split(size)
    return [torch.cat(tensors, out=part) for tensors, part in zip(flat, parts, strict=True)]


def scatter(flat: Tensor, tensors: list[Tensor]) -> None:
    """Copy the contents of a gathered list back into its tensors."""
    torch._foreach_copy_(tensors, list(_unflatten_dense_tensors(flat, tensors)))


def slices(tensors: Sequence[Tensor], limit: int) -> Iterator[tuple[Tensor, ...]] | None:
    """Return an iterator over flat views of at most `limit` elements of all the tensors at once.

    They have one shape. None where they do not lie alike and without gaps in memory.
    """
    first = tensors[0]
    if not _dense(first) or any(x.stride() != first.stride() for x in tensors):
        return None
    flat = [x.as_strided((first.numel(),), (1,)) for x in tensors]
    return zip(*(x.split(limit) for x in flat), strict=True)


def release() -> None:
    """Give back this thread's scratch memory."""
    _kept.buffers.clear()


def _on_cpu(x: Tensor) -> bool:
    """Return whether `x` is an ordinary tensor in a CPU's memory, and no subclass that only looks
    like one.
    """
    return type(x) in (Tensor, torch.nn.Parameter) and x.device.type == "cpu"


def _dense(x: Tensor) -> bool:
    """Return whether the elements fill one stretch of memory, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _buffer(purpose: str, dtype: torch.dtype, size: int) -> Tensor:
    """Return `size` elements of the memory kept for a purpose, which grows as needed."""
    kept, key = _kept.buffers, (purpose, dtype)
    if key not in kept or kept[key].numel() < size:
        with torch.inference_mode(False):  # else it would be of no use outside of it
            kept[key] = torch.empty(size, dtype=dtype)
    return kept[key][:size]
