"""Steps by one kernel: which tensors it takes, and what is left to the eager update."""

from __future__ import annotations

import functools
import logging
import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adana.optim.coded import rounding
from adana.optim.kernel import c_launch, triton_launch, triton_library
from adana.optim.kernel.c_library import CannotCompile
from adana.optim.kernel.recipe import FLOATS, Recipe, Row, Rule
from adana.optim.placement import UNPLACED, placement, sections
from adana.optim.randomness import Keys
from adana.optim.scratch import dense
from adana.optim.storage import local, local_like
from adana.optim.telemetry import Telemetry
from adana.optim.update import Form, Hyper
from adana.optim.work import Work, chosen

PLAIN = (Tensor, torch.nn.Parameter)

log = logging.getLogger("adana")


def wants_kernel(group: Mapping[str, Any], p: Tensor) -> bool:
    """Return whether steps of `p` are to be fused: asked for, or on a CPU and not asked otherwise.

    Not by default on GPUs: until their kernels have run on one, who uses them should know.
    """
    asked = group["fused"]
    if asked is None:
        asked = group["foreach"] is None and p.device.type == "cpu"
    if not asked or p.dtype not in FLOATS:
        return False
    if p.device.type == "cpu":
        return True
    reason = triton_library.why_not(p.device)
    if reason is not None:
        _say_once(reason, bool(group["fused"]))
    return reason is None


def update_fused(
    work: Work,
    rule: Rule,
    form: Form,
    names: tuple[str, ...],
    parts: Mapping[str, torch.dtype],
    *,
    watch: Telemetry | None = None,
) -> Work:
    """Update in place what a kernel can, and return the work on the rest.

    Left are tensors with gaps, those of unknown classes, and all of them where there is no
    compiler; with `fused=True` that is warned of. `watch` is told what the kernels add up.
    """
    together: dict[torch.dtype, list[tuple[int, Row]]] = defaultdict(list)
    run = (c_launch if work.params[0].device.type == "cpu" else triton_launch).run
    left = []
    for i in range(len(work.params)):
        row = _row(work, i, parts)
        if row is None:
            left.append(i)
        elif row.tensors[0].numel() > 0 or watch is not None:
            parts_of_row = _by_key(row, work.keys[i]) if work.keys else [row]
            together[row.tensors[1].dtype].extend((i, part) for part in parts_of_row)
    for gradients, rows in together.items():
        p = work.params[0]
        recipe = Recipe(
            rule, form, names, p.dtype, gradients, work.group["state_dtype"],
            rounding(work.group, p), watch is not None,
        )  # fmt: skip
        try:
            sums = run(recipe, [row for _, row in rows], _numbers(work))
            if watch is not None:
                watch.add(*_of_parameters(work, [i for i, _ in rows], sums))
        except CannotCompile as error:
            _say_once(str(error), bool(work.group["fused"]))
            left.extend(i for i, _ in rows)
        else:  # as operations in place do, so that autograd sees a stale graph
            torch.autograd.graph.increment_version([row.tensors[0] for _, row in rows])
    return chosen(work, sorted(set(left)))


def _row(work: Work, i: int, parts: Mapping[str, torch.dtype]) -> Row | None:
    """Return the tensors of the i-th parameter as a kernel takes them, or None if it cannot."""
    p, g, state = work.params[i], work.grads[i], [work.states[i][name] for name in parts]
    mine, coded = p, bool(work.keys)
    if not _ordinary(p):
        mine, g, state = local(p), local_like(g, p), [local(x) for x in state]
        if not _ordinary(mine):
            return None
    shape, stride, device = mine.shape, mine.stride(), mine.device
    for x, dtype in zip(state, parts.values(), strict=True):
        # Written out for speed. Someone may have cast or moved it: a kernel would not notice.
        if (
            type(x) not in PLAIN or x.layout is not torch.strided or x.dtype is not dtype
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
    numbers = i if isinstance(work.hyper, Tensor) and work.hyper.ndim == 2 else 0
    return Row((mine, g, *state), numbers, where, work.keys[i][0] if coded else (0, 0))


def _by_key(row: Row, keys: Keys) -> list[Row]:
    """Return a row for each key of a parameter, which nearly always has one."""
    if len(keys) == 1:
        return [row]
    flat = [x.view(-1) for x in row.tensors]
    return [
        Row(tuple(x[begin:end] for x in flat), row.numbers, where, keys[key])
        for begin, end, where, key in sections(row.placement, len(flat[0]), len(flat[0]))
    ]


def _of_parameters(
    work: Work, which: list[int], sums: dict[str, Tensor]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return parameters and the sums over all of their rows, of which each is `which`'s."""
    first = list(dict.fromkeys(which))
    if len(first) < len(which):
        place = torch.tensor([first.index(i) for i in which])
        sums = {
            name: x.new_zeros(len(first)).index_add_(0, place.to(x.device), x)
            for name, x in sums.items()
        }
    return [work.owners[i] for i in first], sums


def _ordinary(x: Tensor) -> bool:
    """Return whether the elements of `x` are those in its memory, and it is a plain tensor."""
    return (
        type(x) in PLAIN  # subclasses may only look like one
        and x.layout is torch.strided
        and not x.is_neg()
        and not x._is_zerotensor()
    )


def _numbers(work: Work) -> Tensor:
    """Return the numbers of a step as rows of float32."""
    h = work.hyper
    if isinstance(h, Tensor):
        return h.to(torch.float32).reshape(-1, len(Hyper._fields)).contiguous()
    if not isinstance(h.scale, Tensor):
        return torch.tensor([h], dtype=torch.float32, device="cpu")
    like = torch.empty((), dtype=torch.float32, device=h.scale.device)
    return h.packed(like).reshape(1, -1)


@functools.cache
def _say_once(reason: str, asked: bool) -> None:
    """Say why steps are not fused: a warning where it was asked for, else a line of the log."""
    text = f"steps are not fused: {reason}. They are computed by torch instead, more slowly."
    if asked:
        warnings.warn(text, stacklevel=2)
    else:
        log.info(text)
