"""States in the host's memory: the step runs there, and weights and gradients travel.

A device then holds weights and, for a while, gradients, and none of the optimizer's state. The
update is the ordinary one of a CPU, with its fused kernel. Weights are copied from the device at
every step, though the last step left them there: nothing tells reliably whether anybody changed
them since (`p.data` has a version counter of its own), and a copy kept on the host would take as
much of its memory as it saves of the way.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.dtensors import as_part_of, local
from adana.optim.base import LogTimeOptimizer
from adana.optim.handles import Handle
from adana.optim.lanes import Lane, lane
from adana.optim.refusals import refuse_gradient, wrapped
from adana.optim.release import refuse_replicas
from adana.optim.scaling import refuse_scaler
from adana.optim.storage import STEP, local_like
from adana.optim.work import Work, chosen, on_this_process

CHUNK = 1 << 24
"""Elements that travel together: while some are updated, the next come and the last go back."""


def offload_states(optimizer: LogTimeOptimizer, *, gradients: bool = False) -> OffloadedStates:
    """Keep the states of an optimizer in the host's memory, and step there.

    The training loop stays as it is, and so do parameter groups, schedulers, `reschedule`,
    telemetry, `adana.clip_grad_norm` and state dicts: one saved with states on the host can be
    loaded by an optimizer without, and the other way. The updates are those of an ordinary step on
    a CPU, to the bit; but `LogMuon` orthogonalises on the device, one matrix at a time.

    Weights and gradients travel to the host at every step, new weights back, in chunks that are
    copied while others are updated. So whatever changed the weights meanwhile is seen.

    Parameters on the CPU are allowed: nothing is copied then.

    Args:
        optimizer: a member of the family; states that it has move to the host.
        gradients: bring each gradient to the host when it is complete in `backward`, and free it on
            the device. `p.grad` is None after `backward` then, and micro-batches are added up on
            the way. `optimizer.step()` uses and forgets the gradients; `optimizer.zero_grad()`
            before it drops them, which `model.zero_grad()` cannot. `adana.clip_grad_norm` knows
            them, `torch.nn.utils.clip_grad_norm_` finds none. Default False: gradients stay until
            they are set to None.

    Returns:
        The handle: `remove()` brings states back to the devices, as does leaving a `with` block.

    Raises:
        TypeError: the optimizer is not of this family.
        ValueError: a group is capturable; its steps would have to run on the device.
        RuntimeError: its states are offloaded already. With `gradients`: they are released
            (`adana.release_gradients`, which goes together with `gradients=False`), or would be
            reduced too late (DistributedDataParallel). A `torch.amp.GradScaler`, which needs
            gradients on the device, is refused at its first step then.

    Example:
        >>> import torch, adana
        >>> device = "cuda" if torch.cuda.is_available() else "cpu"
        >>> model = torch.nn.Linear(4, 2, device=device)
        >>> optimizer = adana.ADana(model.parameters(), lr=1e-3, omega=0)
        >>> handle = adana.offload_states(optimizer, gradients=True)
        >>> model(torch.ones(3, 4, device=device)).sum().backward()
        >>> optimizer.step()
        >>> {x.device.type for state in optimizer.state.values() for x in state.values()}
        {'cpu'}
        >>> handle.remove()
    """
    _refuse(optimizer, gradients)
    return OffloadedStates(optimizer, gradients=gradients)


class OffloadedStates(Handle):
    """A handle on an optimizer whose states are on the host; `offload_states` makes it."""

    def __init__(
        self, optimizer: LogTimeOptimizer, *, gradients: bool = False, copies: bool = False
    ) -> None:
        self.optimizer, self.gradients, self._copies = optimizer, gradients, copies
        self._lanes: dict[torch.device, Lane] = {}
        self._kept: dict[Tensor, Tensor] = {}
        self._hooks: list[Any] = [optimizer.register_step_pre_hook(self._before_step)]
        optimizer.host = self
        optimizer.bring_states_home()
        if gradients:
            optimizer.takes_scaled_gradients = True
            for group in optimizer.param_groups:
                self._hooks += [self._watch(p) for p in group["params"] if p.requires_grad]

    def remove(self) -> None:
        """Bring the states back to the devices, and gradients that no step has used."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if self.optimizer.host is self:
            del self.optimizer.host
            if self.gradients:
                del self.optimizer.takes_scaled_gradients
            self.optimizer.bring_states_home()
            for p in list(self._kept):
                if (g := self.gradient(p)) is not None:
                    p.grad = as_part_of(p, self._lane(p).bring(g))
        self._kept.clear()

    # --- gradients --------------------------------------------------------------------------------

    def gradient(self, p: Tensor) -> Tensor | None:
        """Return the gradient of `p`: of kept ones this process's part, which may not be there yet.

        `wait` for it to read it.
        """
        if not self.gradients:
            return p.grad
        if p.grad is not None:  # it came without the hook
            self._keep(p, p.grad)
        return self._kept.get(p)

    def wait(self) -> None:
        """Wait until the gradients that are kept have arrived."""
        for way in self._lanes.values():
            way.arrival()()

    def forget(self) -> None:
        """Drop the gradients that are kept."""
        self._kept.clear()

    def _watch(self, p: Tensor) -> Any:
        """Let the gradient of `p` be kept when it is complete.

        Parameters do not keep the optimizer alive: without it their gradients stay.
        """
        alive = weakref.ref(self)

        def complete(p: Tensor) -> None:
            if (handle := alive()) and p.grad is not None:
                handle._keep(p, p.grad)

        return p.register_post_accumulate_grad_hook(complete)

    @torch.no_grad()
    def _keep(self, p: Tensor, g: Tensor) -> None:
        """Bring a gradient to the host, added to what is kept, and free it on the device."""
        refuse_gradient(type(self.optimizer).__name__, p, g)
        way, mine = self._lane(p), local_like(g, p)
        if p in self._kept:
            mine = way.bring(self._kept[p]).add_(mine)
        self._kept[p] = way.leave(mine)
        p.grad = None

    # --- the step ---------------------------------------------------------------------------------

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Refuse a step that is captured, and one of a `GradScaler`, which saw no gradients."""
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "a step with states on the host cannot be captured in a CUDA graph: capture "
                "forward and backward alone, or do not offload the states"
            )
        if self.gradients:
            refuse_scaler(
                optimizer,
                "a GradScaler looks for overflows in gradients on the device, where offloaded ones "
                "are no more: pass gradients=False to adana.offload_states, or train in bfloat16 "
                "without a scaler. Nothing has changed; optimizer.zero_grad() drops the gradients.",
            )

    @torch._disable_dynamo
    def update(self, plan: Sequence[Work]) -> None:
        """Do what is planned for a step, of which the optimizer calls the parts one by one."""
        coming: deque[_Chunk] = deque()
        for work in plan:
            for some in _chunks(work):
                coming.append(self._fetch(some))
                if len(coming) > 1:
                    self._finish(coming.popleft())
        for chunk in coming:
            self._finish(chunk)
        for way in self._lanes.values():
            way.finish()
        for work in plan:
            for p in work.owners:
                self._kept.pop(p, None)

    def _fetch(self, work: Work) -> _Chunk:
        """Begin to bring weights and gradients to the host."""
        here = on_this_process(work, [name for name in work.states[0] if name != STEP])
        way = self._lane(work.params[0])
        params = [way.download(p) for p in here.params]
        grads = here.grads if self.gradients else [way.download(g) for g in here.grads]
        return _Chunk(here, here._replace(params=params, grads=grads), way, way.arrival())

    def _finish(self, chunk: _Chunk) -> None:
        """Update a chunk that was fetched, and begin to bring the weights back."""
        chunk.arrived()
        self.optimizer.update(chunk.host)
        for host, target in zip(chunk.host.params, chunk.device.params, strict=True):
            chunk.way.upload(host, target)

    def _lane(self, p: Tensor) -> Lane:
        device = p.device
        if device not in self._lanes:
            self._lanes[device] = lane(device, copies=self._copies)
        return self._lanes[device]


class _Chunk(NamedTuple):
    """Parameters that travel together."""

    device: Work
    """The tensors on the device, which nobody may free before they have arrived."""
    host: Work
    way: Lane
    arrived: Callable[[], None]


def _chunks(work: Work) -> Iterator[Work]:
    """Cut `work` into whole parameters that are together at most `CHUNK` elements, or one."""
    some: list[int] = []
    size = 0
    for i, p in enumerate(work.params):
        length = local(p).numel()
        if some and size + length > CHUNK:
            yield chosen(work, some)
            some, size = [], 0
        some.append(i)
        size += length
    yield chosen(work, some)


def _refuse(optimizer: Any, gradients: bool) -> None:
    """Raise where states cannot be offloaded."""
    owner = type(optimizer).__name__
    if not isinstance(optimizer, LogTimeOptimizer):
        raise TypeError(
            f"states can be offloaded for the optimizers of adana, not for {owner}"
            f"{wrapped(optimizer)}"
        )
    if optimizer.host is not None:
        raise RuntimeError(
            f"the states of this {owner} are offloaded already; remove() the handle it has first"
        )
    if any(group["capturable"] for group in optimizer.param_groups):
        raise ValueError(
            f"{owner} has a group with capturable=True, whose steps run on the device without the "
            "host: leave capturable out, or the states on the device"
        )
    if not gradients:
        return
    if getattr(optimizer, "_gradients_released_by", None) is not None:
        raise RuntimeError(
            f"this {owner} releases its gradients in backward already: pass gradients=False"
        )
    refuse_replicas(optimizer, "Shard with FSDP2 (fully_shard), or pass gradients=False.")
