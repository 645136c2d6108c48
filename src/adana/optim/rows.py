"""Parameters as a kernel takes them, looked at in every step, but no more than is needed.

A kernel works on memory and would not notice that someone has cast, moved or replaced a tensor. So
each is looked at before it does. With many small parameters that takes longer than their update, as
every question to a tensor takes a quarter of a microsecond: what has passed is remembered, and as
long as the same tensors are at the same addresses, states are asked nothing else, the parameter its
shape, and the gradient, which is new, everything.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.dtensors import local
from adana.optim.kernel.recipe import FLOATS, Row, row_of
from adana.optim.placement import UNPLACED, Placement, placement
from adana.optim.randomness import Key
from adana.optim.scratch import dense
from adana.optim.storage import local_like
from adana.optim.work import Work

PLAIN = (Tensor, torch.nn.Parameter)
STRIDED = torch.strided
data_ptr = Tensor.data_ptr


class _Known(NamedTuple):
    """A parameter and its state that have passed."""

    p: weakref.ref[Tensor]
    """None of these is held: who drops a parameter or moves states wants their memory back."""
    state: tuple[weakref.ref[Tensor], ...]
    pointers: tuple[int, ...]
    """Of p and of the state."""
    size: int
    placement: Placement
    shape: torch.Size
    stride: tuple[int, ...]
    device: torch.device


class Rows:
    """What parameters are to kernels, and which of them have passed."""

    def __init__(self) -> None:
        self._known: dict[Any, dict[int, _Known]] = {}

    def of(self, work: Work, parts: Mapping[str, torch.dtype]) -> list[Row | None]:
        """Return the row of each parameter of `work`, of its first key where it has several.

        None for tensors with gaps and those of unknown classes, and where a state is not what
        `parts` says is stored of it.
        """
        coded, names = bool(work.keys), tuple(parts)
        many = isinstance(work.hyper, Tensor) and work.hyper.ndim == 2
        known = self._known.setdefault((coded, *parts.items()), {})
        rows: list[Row | None] = []
        row: Row | None
        for i, (p, g, state) in enumerate(zip(work.params, work.grads, work.states, strict=True)):
            number, key = i if many else 0, work.keys[i][0] if coded else (0, 0)
            before = known.get(id(p))
            tensors = (p, g, *[state[name] for name in names])
            pointers = before and _again(before, tensors)
            if before and pointers:
                row = Row(tensors, before.size, pointers, number, before.placement, key)
            else:
                row = _looked_at(work, i, parts, number, key)
                if row is not None and row.tensors[0] is work.owners[i]:
                    known[id(p)] = _remembered(row)  # never of copies, which would be kept alive
            rows.append(row)
        return rows


def _again(before: _Known, tensors: tuple[Tensor, ...]) -> tuple[int, ...] | None:
    """Return the pointers of a parameter that has passed, or None if something is not as it was.

    The gradient, whose shape is the parameter's as in all that is not refused, is to be laid out as
    the parameter.
    """
    p, g, *state = tensors
    shape, stride = before.shape, before.stride
    if before.p() is not p:  # another one with its id
        return None
    if not (
        type(g) in PLAIN and p.shape == shape and p.stride() == stride
        and g.stride() == stride and g.device == before.device and g.dtype in FLOATS
        and not g.is_neg() and not g._is_zerotensor()
        and all(x is known() for x, known in zip(state, before.state, strict=True))
    ):  # fmt: skip
        return None
    found = tuple(map(data_ptr, tensors))
    same = found[0] == before.pointers[0] and found[2:] == before.pointers[1:]
    return found if same else None


def _remembered(row: Row) -> _Known:
    (p, _, *state), (pointer, _, *pointers) = row.tensors, row.pointers
    return _Known(
        weakref.ref(p), tuple(map(weakref.ref, state)), (pointer, *pointers), row.size,
        row.placement, p.shape, p.stride(), p.device,
    )  # fmt: skip


def _looked_at(
    work: Work, i: int, parts: Mapping[str, torch.dtype], number: int, key: Key
) -> Row | None:
    """Return the i-th row of `work`, or None if a kernel cannot take it."""
    p, g, state = work.params[i], work.grads[i], [work.states[i][name] for name in parts]
    mine, coded = p, bool(work.keys)
    if not _ordinary(p):
        mine, g, state = local(p), local_like(g, p), [local(x) for x in state]
        if not _ordinary(mine):
            return None
    shape, stride, device = mine.shape, mine.stride(), mine.device
    for x, dtype in zip(state, parts.values(), strict=True):
        if (
            type(x) not in PLAIN or x.layout is not STRIDED or x.dtype is not dtype
            or x.shape != shape or x.stride() != stride or x.device != device
        ):  # fmt: skip
            return None
    # Random bits go by the index, not by memory.
    if not (mine.is_contiguous() or (dense(mine) and not coded)):
        return None
    if not _ordinary(g) or g.shape != shape or g.stride() != stride or g.device != device:
        g = torch.empty_like(mine, dtype=g.dtype).copy_(g)
    if g.dtype not in FLOATS:
        return None
    where = placement(work.owners[i]) if coded else UNPLACED
    return row_of((mine, g, *state), number, where, key)


def _ordinary(x: Tensor) -> bool:
    """Return whether the elements of `x` are those in its memory, and it is a plain tensor."""
    return (
        type(x) in PLAIN  # subclasses may only look like one
        and x.layout is STRIDED
        and not x.is_neg()
        and not x._is_zerotensor()
    )
