"""Where a process's elements of a parameter are in the whole of it.

Random bits depend on the global index of an element, so that sharding never changes them. Its low
32 bits are hashed with a key, and each 2^32 elements have a key of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from adana.dtensors import is_dtensor
from adana.optim.randomness import signed

REACH = 1 << 32
"""Elements of a parameter that one key is for: as many as the low bits of an index tell apart."""


class Placement(NamedTuple):
    """The global index of the i-th local element: `first + i // run * stride + i % run`."""

    first: int
    """Global index of the first element."""
    run: int
    """How many local elements follow each other globally too."""
    stride: int
    """How far the next such run is, in elements."""


UNPLACED = Placement(0, 2**62, 0)
"""For tensors that need no random bits: all elements follow each other."""


def placement(p: Tensor) -> Placement:
    """Return where this process's part of `p` lies in the whole, in row-major order.

    Raises:
        NotImplementedError: `p` is sharded along several dimensions in a way that is not rows of
            one length at one distance.
    """
    if not is_dtensor(p):
        return Placement(0, max(p.numel(), 1), 0)
    from torch.distributed.tensor._utils import (  # noqa: PLC0415
        compute_local_shape_and_global_offset,
    )

    shape, offset = compute_local_shape_and_global_offset(p.shape, p.device_mesh, p.placements)
    strides = [math.prod(p.shape[d + 1 :]) for d in range(p.ndim)]
    index = sum(o * s for o, s in zip(offset, strides, strict=True))
    cut = [d for d in range(p.ndim) if shape[d] != p.shape[d]]
    if math.prod(shape) == 0 or not cut:
        return Placement(index, max(math.prod(shape), 1), 0)
    last = cut[-1]
    outer = [d for d in range(last) if shape[d] != 1]
    if any(strides[a] != shape[b] * strides[b] for a, b in pairwise(outer)):
        raise NotImplementedError(
            f"random bits for a parameter of shape {tuple(p.shape)} sharded as {p.placements}: "
            "shard it along fewer dimensions, or keep state_dtype='fp32' and float32 weights"
        )
    run = shape[last] * strides[last]
    return Placement(index, run, strides[outer[-1]] if outer else 0)


class Section(NamedTuple):
    """Local elements that can be worked on apart from the others."""

    begin: int
    end: int
    placement: Placement
    key: int
    """Which of the parameter's keys they have."""


def sections(where: Placement, size: int, limit: int) -> Iterator[Section]:
    """Cut `size` local elements where the key changes, and into at most `limit` elements."""
    begin = 0
    while begin < size:
        run, within = where.run, begin % where.run
        first = where.first + begin // run * where.stride + within
        room = min(limit, REACH - first % REACH)
        if within == 0 and run <= room and begin + run < size:
            runs = min((size - begin) // run, limit // run)
            runs = min(runs, (REACH - first % REACH - run) // where.stride + 1)
            count, placed = runs * run, Placement(first, run, where.stride)
        else:
            count = min(run - within, size - begin, room)
            placed = Placement(first, count, 0)
        yield Section(begin, begin + count, placed, first // REACH)
        begin += count


def global_index(where: Placement, like: Tensor) -> Tensor:
    """Return the global index of every element of the local tensor `like`, its low 32 bits."""
    size = like.numel()
    if size <= min(where.run, 1 << 31):
        i = torch.arange(size, dtype=torch.int32, device=like.device)
        return (i + signed(where.first)).view(like.shape)  # int32 wraps around
    i = torch.arange(size, device=like.device)
    index = where.first + i // where.run * where.stride + i % where.run
    low = index & 0xFFFFFFFF
    return (low - ((low >> 31) << 32)).to(torch.int32).view(like.shape)
