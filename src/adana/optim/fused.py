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
from adana.optim.kernel import c_launch
from adana.optim.kernel.c_library import CannotCompile
from adana.optim.kernel.recipe import FLOATS, Recipe, Rule
from adana.optim.placement import placement
from adana.optim.scratch import dense
from adana.optim.storage import local, local_like
from adana.optim.telemetry import Telemetry
from adana.optim.update import Form, Hyper
from adana.optim.work import Work, chosen

log = logging.getLogger("adana")


def wants_kernel(group: Mapping[str, Any], p: Tensor) -> bool:
    """Return whether steps of `p` are to be fused: asked for, or not asked otherwise."""
    asked = group["fused"]
    if asked is None:
        asked = group["foreach"] is None
    return bool(asked) and p.device.type == "cpu" and p.dtype in FLOATS


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
    together: dict[torch.dtype, list[tuple[int, c_launch.Row]]] = defaultdict(list)
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
            sums = c_launch.run(recipe, [row for _, row in rows], _numbers(work))
            if watch is not None:
                watch.add([work.params[i] for i, _ in rows], sums)
        except CannotCompile as error:
            _say_once(str(error), bool(work.group["fused"]))
            left.extend(i for i, _ in rows)
    return chosen(work, sorted(left))


def _row(work: Work, i: int, parts: Mapping[str, torch.dtype]) -> c_launch.Row | None:
    """Return the tensors of the i-th parameter as a kernel takes them, or None if it cannot."""
    p = work.params[i]
    mine, g = local(p), local_like(work.grads[i], p)
    state = [local(work.states[i][name]) for name in parts]
    if not _plain(mine) or any(not _plain(x) or x.stride() != mine.stride() for x in state):
        return None
    if g.stride() != mine.stride() or g.is_neg() or not _plain(g):
        g = torch.empty_like(mine, dtype=g.dtype).copy_(g)
    if g.dtype not in FLOATS:
        return None
    numbers = i if isinstance(work.hyper, Tensor) else 0
    coded = bool(work.keys)
    where = placement(p) if coded else placement(mine)
    return c_launch.Row((mine, g, *state), numbers, where, work.keys[i] if coded else (0, 0))


def _plain(x: Tensor) -> bool:
    """Return whether `x` is an ordinary tensor whose elements fill one stretch of memory."""
    ordinary = type(x) in (Tensor, torch.nn.Parameter) and x.layout is torch.strided
    return ordinary and (x.is_contiguous() or dense(x))


def _numbers(work: Work) -> Tensor:
    """Return the numbers of a step as rows of float32."""
    if isinstance(work.hyper, Hyper):
        return torch.tensor([work.hyper], dtype=torch.float32)
    return work.hyper.to(torch.float32).reshape(-1, len(Hyper._fields)).contiguous()


@functools.cache
def _say_once(reason: str, asked: bool) -> None:
    """Say why steps are not fused: a warning where it was asked for, else a line of the log."""
    text = f"steps are not fused: {reason}. They are computed by torch instead, more slowly."
    if asked:
        warnings.warn(text, stacklevel=2)
    else:
        log.info(text)
