"""Gradients that are freed as soon as they are used: the update moves into the backward pass.

An ordinary step needs the gradients of all parameters at once, as many bytes as the parameters
themselves. Here each parameter is updated when its gradient is complete, which is then freed, so
that only a few exist at a time. What needs all gradients together is refused, because by the time
they are known the first parameters have moved.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor

from adana.dtensors import is_dtensor
from adana.optim.base import LogTimeOptimizer
from adana.optim.handles import Handle
from adana.optim.refusals import wrapped
from adana.optim.scaling import refuse_scaler

_ATTACHED = "_gradients_released_by"
"""Attribute of an optimizer that holds its handle."""
CLIPPED_BY_NORM = ("max_norm", "max_grad_norm", "clip_norm", "grad_norm_clip")
"""Names that a limit on the norm of all gradients has in parameter groups."""


def release_gradients(
    optimizer: LogTimeOptimizer, *, local_gradients: bool = False
) -> ReleasedGradients:
    """Update each parameter during the backward pass, and free its gradient.

    The training loop stays as it is: `backward`, then `optimizer.step()`, then the scheduler.
    `step` updates what is left, parameters that got a gradient in another way, and ends the step.
    The updates are those of the ordinary step, to the bit. Learning rates are read when a gradient
    is complete, so a scheduler must not be stepped between `backward` and `step`. A closure given
    to `step` updates as it runs `backward`.

    *Gradient accumulation*: run all micro-batches but the last under `handle.accumulate()`, where
    gradients are kept and summed. They then exist all at once, so only the peak of activations
    and gradients together becomes smaller.

    *An exception during backward* leaves the parameters whose gradients were complete updated, a
    step ahead of the others: `handle.updated` lists them. Load a checkpoint; or accept the part,
    as for parameters without a gradient: `optimizer.zero_grad()`, then `optimizer.step()`.

    *Refused*, because each needs all gradients before the first update: a `GradScaler` (it skips
    the step where one gradient overflows; use bfloat16, which needs none) and clipping by the
    global norm in parameter groups (`DanaMK4` limits the momentum of each weight alone).
    `torch.nn.utils.clip_grad_norm_` after `backward` finds no gradients, changes nothing and
    returns 0: do not call it.

    Parameters that get more than one gradient a step (tied weights) are updated once, by the sum.
    FSDP2 runs the hooks on its reduced, sharded gradients. DDP reduces gradients after the hooks
    have run, so plain tensors in a world of several processes are refused. The gradients of a part
    that `torch.compile` made one graph come all at once: compile a model block by block.

    Args:
        optimizer: a member of the family. Parameters that need no gradient now, or are added
            later, are updated by `step`.
        local_gradients: gradients of plain tensors need no reduction over processes (a part of a
            model in a pipeline, say). Default False.

    Returns:
        The handle: `remove()` ends it, as does leaving a `with` block.

    Raises:
        TypeError: the optimizer is not of this family.
        RuntimeError: its gradients are released already, or would be reduced too late.
        ValueError: a group limits the norm of all gradients.

    Example:
        >>> import torch, adana
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = adana.ADana(model.parameters(), lr=1e-3, omega=0)
        >>> handle = adana.release_gradients(optimizer)
        >>> model(torch.ones(3, 4)).sum().backward()
        >>> [p.grad for p in model.parameters()]
        [None, None]
        >>> optimizer.step()
        >>> handle.remove()
    """
    _refuse(optimizer, local_gradients)
    return ReleasedGradients(optimizer)


class ReleasedGradients(Handle):
    """A handle on an optimizer whose gradients are released; `release_gradients` makes it."""

    def __init__(self, optimizer: LogTimeOptimizer) -> None:
        self.optimizer = optimizer
        self._updated: dict[Tensor, None] = {}
        self._accumulating = 0
        self._hooks: list[Any] = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        for index, group in enumerate(optimizer.param_groups):
            for p in group["params"]:
                if p.requires_grad:
                    self._hooks.append(self._watch(p, index))
        optimizer.takes_scaled_gradients = True
        setattr(optimizer, _ATTACHED, self)
        optimizer.clip = None

    @property
    def updated(self) -> list[Tensor]:
        """Return the parameters that were updated since the last `step` ended."""
        return list(self._updated)

    @contextmanager
    def accumulate(self) -> Iterator[None]:
        """Keep gradients, for the micro-batches of a step before its last."""
        self._accumulating += 1
        try:
            yield
        finally:
            self._accumulating -= 1

    def remove(self) -> None:
        """Go back to ordinary steps, which need all gradients."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._updated.clear()
        if getattr(self.optimizer, _ATTACHED, None) is self:
            delattr(self.optimizer, _ATTACHED)
            del self.optimizer.takes_scaled_gradients

    # --- hooks ------------------------------------------------------------------------------------

    def _watch(self, p: Tensor, index: int) -> Any:
        """Let `p`, of the group `index`, be updated when its gradient is complete.

        Parameters do not keep the optimizer alive: without it their gradients stay.
        """
        alive = weakref.ref(self)

        def complete(p: Tensor) -> None:
            if handle := alive():
                handle._complete(p, index)

        return p.register_post_accumulate_grad_hook(complete)

    def _complete(self, p: Tensor, index: int) -> None:
        """Update a parameter of the group `index` by its complete gradient, and free that."""
        if self._accumulating:
            return
        self._refuse_second(p)
        self.optimizer.step_only({index: [p]})
        self._updated[p] = None
        p.grad = None

    def _refuse_second(self, p: Tensor) -> None:
        """Raise where a parameter has had its update of this step."""
        if p in self._updated:
            raise RuntimeError(
                f"a parameter of shape {tuple(p.shape)} got a second gradient before "
                "optimizer.step() ended the step, and has been updated by the first. Run all "
                "micro-batches but the last under handle.accumulate(); checkpoint activations "
                "with use_reentrant=False; after an exception in backward, drop the gradients "
                "and end the step: optimizer.zero_grad(), optimizer.step()."
            )

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Refuse a step that a `GradScaler` takes."""
        refuse_scaler(
            optimizer,
            "a GradScaler cannot be used with released gradients: it unscales them, and skips the "
            "step where one has overflowed, before any parameter may move, but they moved during "
            "backward, by scaled gradients. Go back to the last checkpoint, and train in bfloat16 "
            "without a scaler, or remove() the handle.",
        )

    def _after_step(self, *_: Any) -> None:
        """Begin the next step."""
        self._updated.clear()


def _refuse(optimizer: Any, local_gradients: bool) -> None:
    """Raise where gradients cannot be released."""
    owner = type(optimizer).__name__
    if not isinstance(optimizer, LogTimeOptimizer):
        raise TypeError(
            f"gradients can be released for the optimizers of adana, not for {owner}, which cannot "
            f"step a part of its parameters{wrapped(optimizer)}"
        )
    if hasattr(optimizer, _ATTACHED):
        raise RuntimeError(
            f"this {owner} releases its gradients already; remove() the handle it has first"
        )
    if optimizer.host is not None and optimizer.host.gradients:
        raise RuntimeError(
            "the gradients of this optimizer go to host memory in backward: pass gradients=False "
            "to adana.offload_states, and they are used and freed in backward instead"
        )
    for group in optimizer.param_groups:
        _refuse_clipping(owner, group)
    if not local_gradients:
        refuse_replicas(
            optimizer, "Shard with FSDP2 (fully_shard), or pass local_gradients=True if no other "
            "process has these parameters.",
        )  # fmt: skip


def _refuse_clipping(owner: str, group: Mapping[str, Any]) -> None:
    limits = [name for name in CLIPPED_BY_NORM if group.get(name) is not None]
    if limits:
        raise ValueError(
            f"{owner} has a group with {limits[0]}={group[limits[0]]}: the norm of all gradients "
            "is known only after backward, when released gradients are gone and the parameters "
            f"have moved. Leave {limits[0]} out; DanaMK4 limits the momentum of each weight alone."
        )


def refuse_replicas(optimizer: LogTimeOptimizer, instead: str) -> None:
    """Raise where gradients may be those of this process alone when they are complete."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    params = (p for group in optimizer.param_groups for p in group["params"])
    if world > 1 and any(p.requires_grad and not is_dtensor(p) for p in params):
        raise RuntimeError(
            f"plain tensors in a world of {world} processes: DistributedDataParallel averages "
            f"gradients after the hooks have used them, so replicas would part. {instead}"
        )
