"""Steps by one kernel: which tensors it takes, and what is left to the eager update."""

from __future__ import annotations

import array
import functools
import logging
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana.optim.coded import rounding
from adana.optim.kernel import c_launch, triton_launch, triton_library
from adana.optim.kernel.c_library import CannotCompile
from adana.optim.kernel.recipe import FLOATS, Recipe, Row, Rule, row_of
from adana.optim.placement import sections
from adana.optim.randomness import Keys
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
    rows: Sequence[Row | None],
    *,
    watch: Telemetry | None = None,
) -> Work:
    """Update in place what a kernel can, and return the work on the rest.

    Left are parameters without a row, and all of them where there is no compiler; with `fused=True`
    that is warned of. `watch` is told what the kernels add up.
    """
    together: dict[torch.dtype, list[tuple[int, Row]]] = defaultdict(list)
    run = (c_launch if work.params[0].device.type == "cpu" else triton_launch).run
    left = []
    for i, row in enumerate(rows):
        if row is None:
            left.append(i)
        elif row.size > 0 or watch is not None:
            some = together[row.tensors[1].dtype]
            if work.keys and len(work.keys[i]) > 1:
                some.extend((i, part) for part in _by_key(row, work.keys[i]))
            else:
                some.append((i, row))
    for gradients, found in together.items():
        p = work.params[0]
        recipe = Recipe(
            rule, form, names, p.dtype, gradients, work.group["state_dtype"],
            rounding(work.group, p), watch is not None,
        )  # fmt: skip
        try:
            sums = run(recipe, [row for _, row in found], _numbers(work))
            if watch is not None:
                watch.add(*_of_parameters(work, [i for i, _ in found], sums))
        except CannotCompile as error:
            _say_once(str(error), bool(work.group["fused"]))
            left.extend(i for i, _ in found)
        else:  # as operations in place do, so that autograd sees a stale graph
            torch.autograd.graph.increment_version([row.tensors[0] for _, row in found])
    return chosen(work, sorted(set(left)) if left else [])


def _by_key(row: Row, keys: Keys) -> list[Row]:
    """Return a row for each key of a parameter that has several."""
    flat = [x.view(-1) for x in row.tensors]
    return [
        row_of(tuple(x[begin:end] for x in flat), row.numbers, where, keys[key])
        for begin, end, where, key in sections(row.placement, row.size, row.size)
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


def _numbers(work: Work) -> Tensor:
    """Return the numbers of a step as rows of float32."""
    h = work.hyper
    if isinstance(h, Tensor):
        return h.to(torch.float32).reshape(-1, len(Hyper._fields)).contiguous()
    if not isinstance(h.scale, Tensor):
        floats = array.array("f", h)  # torch.tensor takes ten times as long
        return torch.frombuffer(floats, dtype=torch.float32).view(1, -1)
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
