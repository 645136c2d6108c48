"""Clipping the norm of all gradients without rewriting them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from adana.checks import check_range
from adana.optim.across_ranks import summed
from adana.optim.base import LogTimeOptimizer
from adana.optim.refusals import wrapped
from adana.optim.scaling import Clip
from adana.optim.storage import local_like, working_dtype


@torch.no_grad()
def clip_grad_norm(
    optimizer: LogTimeOptimizer, max_norm: float, *, error_if_nonfinite: bool = False
) -> Tensor:
    """Clip the gradients of the coming step at a norm, and return the norm they have.

    As `torch.nn.utils.clip_grad_norm_` over all parameters of the optimizer, but gradients stay as
    they are: the next `optimizer.step()` multiplies by the factor, once, which saves reading and
    writing all of them. Call it last before the step. Another call replaces the one before, and
    `optimizer.zero_grad()` forgets it.

    With a `torch.amp.GradScaler` call it before `scaler.step(optimizer)`. `scaler.unscale_` is not
    needed: where gradients are still scaled, the step clips by the norm they have without the
    scale, though the norm returned here is that of the scaled ones.

    Args:
        optimizer: of this package. Its gradients may be sharded (FSDP2, tensor parallel): then
            every rank must call, and gets the norm over all ranks.
        max_norm: > 0; `math.inf` only measures.
        error_if_nonfinite: raise where the norm is infinite or not a number, which waits for the
            device. Default False: such gradients make such weights.

    Returns:
        The norm of all gradients before clipping, a 0-d tensor on the first one's device; 0 if
        there are none.

    Raises:
        TypeError: the optimizer is not of this package; `torch.nn.utils.clip_grad_norm_` does it.
        ValueError: max_norm is out of range.
        RuntimeError: the norm is not finite and `error_if_nonfinite`; or gradients are released in
            backward (`adana.release_gradients`), before their norm is known.

    Example:
        >>> import torch, adana
        >>> layer = torch.nn.Linear(4, 2, bias=False)
        >>> optimizer = adana.ADana(layer.parameters(), lr=1e-3, omega=0)
        >>> layer(torch.ones(1, 4)).sum().backward()
        >>> adana.clip_grad_norm(optimizer, max_norm=1.0)
        tensor(2.8284)
        >>> optimizer.step()
    """
    if not isinstance(optimizer, LogTimeOptimizer):
        raise TypeError(
            f"{type(optimizer).__name__} would not apply the factor that is left for its step; "
            f"use torch.nn.utils.clip_grad_norm_{wrapped(optimizer)}"
        )
    check_range("max_norm", max_norm, low=0.0, low_open=True, finite=False)
    if getattr(optimizer, "_gradients_released_by", None) is not None:
        raise RuntimeError(
            "gradients are released in backward, where parameters are updated before the norm of "
            "all gradients is known; train without clipping, or without release_gradients"
        )
    norm = _total_norm(optimizer)
    if error_if_nonfinite and not bool(torch.isfinite(norm)):
        raise RuntimeError(
            f"the norm of all gradients is {norm.item()}: nothing to clip at. Skip the step, or "
            "pass error_if_nonfinite=False"
        )
    optimizer.clip = Clip(norm, float(max_norm)) if max_norm < torch.inf else None
    return norm


def _total_norm(optimizer: LogTimeOptimizer) -> Tensor:
    """Return the norm of all gradients over all ranks, in at least float32."""
    every = [p for group in optimizer.param_groups for p in group["params"]]
    found = {p: g for p in every if (g := optimizer.gradient(p)) is not None}
    params = list(found)
    if not params:
        return torch.tensor(0.0, device="cpu")
    if optimizer.host is not None:
        optimizer.host.wait()
    together: dict[Any, list[int]] = defaultdict(list)
    grads = [local_like(g, p) for p, g in found.items()]
    for i, g in enumerate(grads):
        together[g.device, g.dtype].append(i)
    squares: list[Tensor] = grads
    for which in together.values():
        dtype = working_dtype(grads[which[0]])
        norms = torch._foreach_norm([grads[i] for i in which], 2, dtype)
        for i, norm in zip(which, norms, strict=True):
            squares[i] = norm.double().square().reshape(1)
    first = params[0]
    device = squares[0].device
    of_each = [x.to(device, non_blocking=True) for x in summed(squares, params)]
    return torch.cat(of_each).sum().sqrt().to(working_dtype(first))
