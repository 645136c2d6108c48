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
from adana.optim.placement import UNPLACED, placement
from adana.optim.scratch import dense
from adana.optim.storage import local, local_like
from adana.optim.telemetry import Telemetry
from adana.optim.update import Form, Hyper
from adana.optim.work import Work, chosen

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
            together[row.tensors[1].dtype].append((i, row))
    for gradients, rows in together.items():
        p = work.params[0]
        recipe = Recipe(
            rule, form, names, p.dtype, gradients, work.group["state_dtype"],
            rounding(work.group, p), watch is not None,
        )  # fmt: skip
        try:
            sums = run(recipe, [row for _, row in rows], _numbers(work))
            if watch is not None:
                watch.add([work.owners[i] for i, _ in rows], sums)
        except CannotCompile as error:
            _say_once(str(error), bool(work.group["fused"]))
            left.extend(i for i, _ in rows)
        else:  # as operations in place do, so that autograd sees a stale graph
            torch.autograd.graph.increment_version([row.tensors[0] for _, row in rows])
    return chosen(work, sorted(left))


def _row(work: Work, i: int, parts: Mapping[str, torch.dtype]) -> Row | None:
    """Return the tensors of the i-th parameter as a kernel takes them, or None if it cannot."""
    p, g, state = work.params[i], work.grads[i], [work.states[i][name] for name in parts]
    if not _ordinary(p):
        g, state = local_like(g, p), [local(x) for x in state]
    mine, coded = local(p), bool(work.keys)
    if not _ordinary(mine) or any(not _ordinary(x) or not _alike(x, mine) for x in state):
        return None
    # Random bits go by the index, not by memory.
    if not (mine.is_contiguous() or (dense(mine) and not coded)):
        return None
    if not _ordinary(g) or not _alike(g, mine) or g.is_neg():
        g = torch.empty_like(mine, dtype=g.dtype).copy_(g)
    if g.dtype not in FLOATS:
        return None
    where = placement(work.owners[i]) if coded else UNPLACED
    numbers = i if isinstance(work.hyper, Tensor) else 0
    return Row((mine, g, *state), numbers, where, work.keys[i] if coded else (0, 0))


def _ordinary(x: Tensor) -> bool:
    """Return whether `x` is a plain strided tensor, and no subclass that only looks like one."""
    return type(x) in (Tensor, torch.nn.Parameter) and x.layout is torch.strided


def _alike(x: Tensor, y: Tensor) -> bool:
    """Return whether elements of both lie in memory in one order."""
    return x.shape == y.shape and x.stride() == y.stride()


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
