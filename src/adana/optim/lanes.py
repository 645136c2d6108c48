"""How tensors travel between a device and the host's memory.

A copy should neither make the host wait before it needs the data, nor the device before its memory
is needed again. CUDA can do both, with streams of their own for each direction and host memory that
is pinned; other devices copy at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HOST = torch.device("cpu")


class Lane:
    """The way between the host and a device that copies at once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def download(self, x: Tensor) -> Tensor:
        """Return a copy on the host of `x`, which must stay as it is until it has arrived."""
        return torch.empty_like(x, device=HOST).copy_(x)

    def leave(self, x: Tensor) -> Tensor:
        """Return a copy on the host of `x`, which nobody else needs any more."""
        return self.download(x)

    def arrival(self) -> Callable[[], None]:
        """Return a function that waits until all that was asked for by now is on the host."""
        return _at_once

    def bring(self, host: Tensor) -> Tensor:
        """Return a copy on the device of what came to the host."""
        return host.to(self.device)

    def upload(self, host: Tensor, target: Tensor) -> None:
        """Copy to `target` on the device, for what is computed there after `finish`."""
        target.copy_(host)

    def finish(self) -> None:
        """Let what is computed on the device from now on see all that was uploaded."""


class NoWay(Lane):
    """Of tensors that are in the host's memory already, which are used where they are."""

    def download(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x

    def upload(self, host: Tensor, target: Tensor) -> None:
        """Do nothing: the update was in place."""


class CudaLane(Lane):
    """Copies beside what the device computes, through pinned memory.

    Torch keeps pinned memory for the next step, and from being used again before a copy has ended.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.down, self.up = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._leaving: tuple[Tensor, torch.cuda.Event] | None = None

    def download(self, x: Tensor) -> Tensor:
        """Begin to copy `x`, as all work that the current stream has now leaves it."""
        host = torch.empty_like(x, device=HOST, pin_memory=True)
        self.down.wait_stream(self._current())
        with torch.cuda.stream(self.down):
            host.copy_(x, non_blocking=True)
        return host

    def leave(self, x: Tensor) -> Tensor:
        """Begin to copy `x`, and free the tensor that left before it.

        The device waits for that copy then, so that gradients do not pile up where they are made
        faster than they travel. Memory that were only marked as used by the copy
        (`record_stream`) would pile up too: the host, which runs ahead, cannot give it away again.
        """
        current = self._current()
        self._free(current)
        host = self.download(x)
        self._leaving = x, self.down.record_event()
        return host

    def _free(self, current: torch.cuda.Stream) -> None:
        if self._leaving is not None:
            x, left = self._leaving
            current.wait_event(left)
            x.record_stream(current)  # which need not be the one that made it, as with FSDP
            self._leaving = None

    def arrival(self) -> Callable[[], None]:
        """Return a function that waits for the copies that have begun by now."""
        return self.down.record_event().synchronize

    def bring(self, host: Tensor) -> Tensor:
        """Begin to copy to new memory, in the current stream."""
        self._current().wait_stream(self.down)
        return host.to(self.device, non_blocking=True)

    def upload(self, host: Tensor, target: Tensor) -> None:
        """Begin to copy to `target`, which nothing on the device may be reading."""
        with torch.cuda.stream(self.up):
            target.copy_(host, non_blocking=True)

    def finish(self) -> None:
        """Make the current stream wait for the uploads, without making the host wait."""
        self._free(self._current())
        self._current().wait_stream(self.up)

    def _current(self) -> torch.cuda.Stream:
        return torch.cuda.current_stream(self.device)


def _at_once() -> None:
    """Wait for nothing."""


def lane(device: torch.device, *, copies: bool = False) -> Lane:
    """Return the way to a device; with `copies` there is one to the CPU too, for tests."""
    if device.type == "cpu":
        return Lane(device) if copies else NoWay(device)
    return CudaLane(device) if device.type == "cuda" else Lane(device)
