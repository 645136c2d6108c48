"""What the update of each parameter looks like from inside, on demand.

The update has gradient, average, denominator and step at hand, element by element. Where telemetry
is on, it adds them up on the way; where it is off, there is nothing to pay. Sums stay on the device
until they are read, and are never part of the state.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from adana.checks import check_integer
from adana.optim.across_ranks import summed
from adana.optim.storage import named

if TYPE_CHECKING:
    from adana.optim.base import LogTimeOptimizer

NORMS = ("g", "u", "m")
"""Entries of `SEEN` that are squares, of which norms are told; of the others, means."""
SKIPPED = "skipped"
"""Entry that says with 1, where only the device knows, that the step changed nothing."""


class Seen(NamedTuple):
    """One parameter at one step."""

    g: float
    """Norm of the gradient, as the update took it: unscaled and clipped."""
    u: float
    """Norm of the update u, of which the weights lose `lr * u` besides decay."""
    m: float
    """Norm of the average of gradients, after the step."""
    clipped: float | None = None
    """Fraction of elements whose momentum term was clipped. None without a clip."""
    tau: float | None = None
    """Mean activity. None without tau."""
    r: float | None = None
    """Mean of m^2 / v (0 where v is 0), the squared signal-to-noise ratio. None without v."""


class Telemetry:
    """A watch on an optimizer's steps; `optimizer.telemetry()` makes it."""

    def __init__(self, optimizer: LogTimeOptimizer, every: int = 1) -> None:
        check_integer("every", every, low=1)
        self.optimizer, self.every, self.steps = optimizer, every, 0
        self._now: dict[Tensor, dict[str, Tensor]] = {}
        self._ready: dict[Tensor, dict[str, Tensor]] = {}
        self._skipped = False
        self._hook: Any = None

    def __enter__(self) -> Telemetry:
        """Begin to watch."""
        if self.optimizer.watch is not None:
            raise RuntimeError("this optimizer's telemetry is on already; read that one")
        self.optimizer.watch = self
        self._hook = self.optimizer.register_step_post_hook(self._after_step)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no longer; what was seen can still be read."""
        self._hook.remove()
        self.optimizer.watch = None
        self._now = {}

    @property
    def due(self) -> bool:
        """Whether the coming step is watched: the first, and each `every`-th after it."""
        return self.steps % self.every == 0

    def read(self) -> dict[str | int, Seen]:
        """Return what the last watched step was, and forget it; empty if there was none since.

        Of every parameter that was updated, by name if the optimizer was given names, else by its
        index in the state dict. Waits for the device, which the steps do not. Where parameters are
        sharded, every rank must read, and gets the numbers of whole parameters.
        """
        sums, self._ready = self._ready, {}
        of_these = [(name, p) for name, p in named(self.optimizer.param_groups) if p in sums]
        together: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        for _, p in of_these:  # in an order that all ranks have
            together[sums[p][next(iter(sums[p]))].device, tuple(sums[p])].append(p)
        found: dict[Tensor, Seen] = {}
        for (_, names), some in together.items():
            flat = torch.stack([sums[p][name] for p in some for name in names]).double()
            rows = summed(flat.view(len(some), len(names)).unbind(), some)
            for p, row in zip(some, torch.stack(rows).tolist(), strict=True):
                numbers = dict(zip(names, row, strict=True))
                if not numbers.pop(SKIPPED, 0.0):
                    found[p] = _seen(numbers, p.numel())
        return {name: found[p] for name, p in of_these if p in found}

    def add(self, params: Sequence[Tensor], sums: Mapping[str, Tensor]) -> None:
        """Take the sums over this process's elements: vectors by name, an entry a parameter."""
        for i, p in enumerate(params):
            self._now[p] = {name: of_each[i] for name, of_each in sums.items()}

    def skip(self) -> None:
        """Take note that the step which is about to end updates nothing."""
        self._skipped = True

    @torch._disable_dynamo
    def _after_step(self, *_: Any) -> None:
        """End a step: what it left can be read, until the next watched one ends.

        A step that updated nothing (skipped by a scaler) does not count, unless only the device
        knows: then it counts, and there is nothing to read.
        """
        if self._skipped:
            self._skipped = False
            return
        if self.due:
            if not self._now:
                return
            self._ready, self._now = self._now, {}
        self.steps += 1


def added_up(elements: Mapping[str, Tensor], skip: Tensor | None = None) -> dict[str, Tensor]:
    """Return the sums of tensors, as vectors of one entry, and whether the step is skipped."""
    sums = {name: x.sum(dtype=torch.float64).reshape(1) for name, x in elements.items()}
    return sums if skip is None else {**sums, SKIPPED: skip.double().reshape(1)}


def _seen(sums: Mapping[str, float], size: int) -> Seen:
    """Return what is told of a parameter of `size` elements."""
    return Seen(
        **{name: math.sqrt(x) if name in NORMS else x / max(size, 1) for name, x in sums.items()}
    )
