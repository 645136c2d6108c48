"""Log-time weight decay for optimizers that are not of this package."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from adana import schedules
from adana.checks import check_range
from adana.dtensors import local
from adana.optim.base import LogTimeOptimizer
from adana.optim.peak import multiplier
from adana.optim.storage import steps_made
from adana.strength import check_first_decay, warn_of_strong_decay

AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)
_PREFIX = "log_decay_"
"""Begin of the keys that the decay keeps in each group, so that they are saved with it."""


_WARNED: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
"""Optimizers whose users know that their weights are too coarse to decay."""


def with_log_time_decay(
    optimizer: AnyOptimizer,
    *,
    omega: float = schedules.OMEGA,
    total_steps: float | None = None,
    decay_offset: float | None = None,
    peak_lr: float | None = None,
) -> AnyOptimizer:
    """Give any `torch.optim` optimizer log-time weight decay in place of its own.

    Before each of its steps, every parameter with a gradient loses the fraction
    `gamma(t) * omega / (decay_offset + t)` of itself; `gamma = lr / peak_lr` of its group. Groups
    that had `weight_decay: 0` or say `omega: 0` are spared; the optimizer's own `weight_decay`
    becomes 0. Strength, offset and the step counter live in the groups as `log_decay_*`, so that
    the optimizer's state dict holds them: call this on the new optimizer before loading one. Call
    it again for groups that have none: those added later, and all after a state dict was loaded
    that was saved without. torch drops hooks when an optimizer is copied or pickled: call this on
    the copy, which then goes on with the settings and the counter it has. The counter of a group
    begins where the optimizer's own is (`step` in its states; those of Muon and SGD have none).

    Keep float32 weights. The decay of a step is rounded to the weights' dtype by itself: one of
    less than `torch.finfo(dtype).eps / 2` is lost in some weights, less than half of that in all.
    In bfloat16 these are 0.4 % and 0.2 %, and a run of 10 000 steps at the defaults is below the
    first from step 25 on. A warning says so once.

    Args:
        optimizer: of any class whose `step` runs torch's step hooks (all subclasses of
            `torch.optim.Optimizer` do): `torch.optim.Muon`, SGD, third-party ones.
        omega: strength, >= 0, as for `ADana`. Default 4.
        total_steps: number of optimizer steps planned, which sets the default `decay_offset`.
        decay_offset: S in steps. Default as for `ADana`.
        peak_lr: highest learning rate of the run, > 0. Default: `max_lr` or `initial_lr` where a
            scheduler left one, else the group's `lr` now.

    Returns:
        The same optimizer.

    Raises:
        ValueError: a value is out of range.
        TypeError: all groups of the optimizer have log-time decay already.

    Example:
        >>> import torch, adana
        >>> layer = torch.nn.Linear(4, 2, bias=False)
        >>> muon = torch.optim.Muon(layer.parameters(), lr=0.02)
        >>> muon = adana.with_log_time_decay(muon, total_steps=1000)
        >>> layer(torch.ones(1, 4)).sum().backward()
        >>> muon.step()
    """
    groups = [group for group in optimizer.param_groups if f"{_PREFIX}t" not in group]
    attached = _before_step in optimizer._optimizer_step_pre_hooks.values()
    if isinstance(optimizer, LogTimeOptimizer) or (attached and not groups):
        raise TypeError(f"this {type(optimizer).__name__} has log-time weight decay already")
    if not groups:  # a copy, or loaded: torch drops hooks
        optimizer.register_step_pre_hook(_before_step)
        return optimizer
    check_range("omega", omega, low=0.0)
    if total_steps is not None:
        check_range("total_steps", total_steps, low=1.0)
    if decay_offset is None:
        decay_offset = schedules.default_decay_offset(omega, total_steps)
    check_range("decay_offset", decay_offset, low=0.0)
    if peak_lr is not None:
        check_range("peak_lr", peak_lr, low=0.0, low_open=True)
    first = schedules.log_time_decay(1, omega, decay_offset) if omega else 0.0
    check_first_decay(first, omega, decay_offset)
    # What the optimizer did not decay stays so. Where it had no decay at all, `omega: 0` decides.
    had_decay = any(group.get("weight_decay") for group in groups)
    for group in groups:
        spared = group.get("omega") == 0 or (had_decay and not group.get("weight_decay"))
        group[f"{_PREFIX}omega"] = 0.0 if spared else float(omega)
        group[f"{_PREFIX}offset"] = float(decay_offset)
        group[f"{_PREFIX}peak_lr"] = float(group["lr"]) if peak_lr is None else float(peak_lr)
        group[f"{_PREFIX}peak_given"] = peak_lr is not None
        group[f"{_PREFIX}t"] = steps_made(optimizer, group)
        group["weight_decay"] = 0.0
    if any(group[f"{_PREFIX}omega"] for group in groups):
        warn_of_strong_decay(first, omega, decay_offset, stacklevel=2)
    if not attached:
        optimizer.register_step_pre_hook(_before_step)
    return optimizer


def _before_step(
    optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Decay the weights that the coming step will move, once its gradients are there.

    With a closure they are there only after it: it is replaced by one that decays in the end. A
    fused optimizer is called by a GradScaler even where it is to skip the step (`found_inf`).
    """
    found_inf = getattr(optimizer, "found_inf", None)
    if found_inf is not None and float(found_inf) > 0:
        return None
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        _decay_all(optimizer)
        return None
    decayed = False

    def evaluate_and_decay() -> Any:
        nonlocal decayed
        loss = closure()
        if not decayed:
            _decay_all(optimizer)
        decayed = True
        return loss

    return (args[0], evaluate_and_decay), {k: v for k, v in kwargs.items() if k != "closure"}


@torch.no_grad()
def _decay_all(optimizer: torch.optim.Optimizer) -> None:
    fractions = [_next_fraction(group) for group in optimizer.param_groups]  # or nothing changes
    for group, fraction in zip(optimizer.param_groups, fractions, strict=True):
        group[f"{_PREFIX}t"] += 1
        weights = [local(p) for p in group["params"] if p.grad is not None]
        if fraction and weights:
            _warn_if_lost(optimizer, fraction, weights)
            torch._foreach_sub_(weights, weights, alpha=fraction)


def _next_fraction(group: dict[str, Any]) -> float:
    """Return what the coming step takes of the weights of a group."""
    if f"{_PREFIX}t" not in group:
        raise RuntimeError(
            "a parameter group was added, or a state dict loaded, without settings of log-time "
            "decay: call adana.with_log_time_decay(optimizer, ...) again, which gives settings to "
            "the groups that have none. Nothing has changed"
        )
    if not group[f"{_PREFIX}omega"]:
        return 0.0
    t, omega, offset = (group[f"{_PREFIX}{name}"] for name in ("t", "omega", "offset"))
    return _gamma(group) * schedules.log_time_decay(t + 1, omega, offset)


def _warn_if_lost(
    optimizer: torch.optim.Optimizer, fraction: float, weights: Sequence[torch.Tensor]
) -> None:
    """Warn once an optimizer if 16-bit weights are too coarse for what decay takes of them.

    Neighbours of a weight are between eps/2 and eps of it away, so that rounding undoes a decay of
    less than eps/2 in some weights and one of less than eps/4 in all.
    """
    if optimizer in _WARNED:
        return
    for dtype in {w.dtype for w in weights}:
        if dtype.itemsize >= torch.float32.itemsize or fraction >= torch.finfo(dtype).eps / 2:
            continue
        _WARNED.add(optimizer)
        all_lost = torch.finfo(dtype).eps / 4
        warnings.warn(
            f"weight decay takes {fraction:.2g} of each weight in a step, which is lost in "
            f"rounding to {dtype} in some weights, and below {all_lost:.2g} in all. Keep the "
            "weights in float32 and compute in 16 bits by torch.autocast.",
            stacklevel=2,
        )
        return


def _gamma(group: dict[str, Any]) -> float:
    peak = group[f"{_PREFIX}peak_lr"]
    if not group[f"{_PREFIX}peak_given"]:
        peak = float(group.get("max_lr", group.get("initial_lr", peak)))
        group[f"{_PREFIX}peak_lr"] = peak  # saved with the state: a load may lose the others
    return multiplier(float(group["lr"]), peak, "with_log_time_decay")
