"""Small tensors that a GPU is sent without anyone waiting: tables that stay, numbers that change.

A table is uploaded once and kept while it is asked for. Captured CUDA graphs read, at every replay,
the memory they read when they were captured; so what a capture has used is kept for good.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

KEPT = 4096
"""Tables that are kept at most. Gradients that move at each step come back to where they were, and
released ones have three tables for each parameter."""
FEWEST = 16
"""Tables that are kept however large they are: those of a few groups."""
KEPT_BYTES = 64 << 20
"""How large they are together at most: a parameter has a few bytes, and 8 for 1024 elements."""


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return `x` on the device. From a CPU it goes through pinned memory, and nobody waits.

    Raises:
        RuntimeError: a CUDA graph is being captured, which would repeat what is sent now.
    """
    if x.device == device or x.device.type != "cpu":
        return x
    if capturing(device):
        raise RuntimeError(
            "a captured step would repeat the numbers of this one for ever: pass capturable=True, "
            "so that they are computed on the device"
        )
    return pinned(x).copy_(x).to(device, non_blocking=True)


def capturing(device: torch.device) -> bool:
    """Return whether what the current stream is given is recorded, not done."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def pinned(like: Tensor) -> Tensor:
    """Return memory of the CPU that a GPU reads by itself, for a tensor of this size and dtype."""
    return torch.empty_like(like, pin_memory=True)


class Tables:
    """Tables on devices by what they depend on, the least recently used dropped."""

    def __init__(self) -> None:
        self.kept: OrderedDict[Hashable, _Table] = OrderedDict()
        self.spare: dict[Hashable, Tensor] = {}
        """Pinned memory by `room`, for the next capture: it cannot always be had during one."""
        self.captured: list[Tensor] = []
        self.bytes = 0
        self.lock = threading.Lock()
        """Steps may run in several threads: in those of backward, one for each device."""

    def get(
        self,
        key: Hashable,
        make: Callable[[], Tensor],
        device: torch.device,
        room: Hashable,
    ) -> Tensor:
        """Return the table of `key`, made on the CPU and uploaded if it is not there.

        `room` is shared by tables of one size that take each other's place.
        """
        if device.type == "cpu":
            return make()
        with self.lock:
            return self._get((device, key), make, device, (device, room))

    def _get(
        self, key: Hashable, make: Callable[[], Tensor], device: torch.device, room: Hashable
    ) -> Tensor:
        if (found := self.kept.get(key)) is not None:
            self.kept.move_to_end(key)
            if capturing(device):
                self.captured.append(found.tensor)
            else:
                found.use()
                self._spare(room, found.tensor)
            return found.tensor
        if capturing(device):
            return self._in_capture(make(), device, room)
        table = make()
        self.kept[key] = made = _Table(sent(table, device))
        self._spare(room, table)
        self.bytes += table.nbytes
        while len(self.kept) > KEPT or (self.bytes > KEPT_BYTES and len(self.kept) > FEWEST):
            _, dropped = self.kept.popitem(last=False)
            self.bytes -= dropped.tensor.nbytes
        return made.tensor

    def _spare(self, room: Hashable, like: Tensor) -> None:
        """See to it that the next capture finds pinned memory; the one before may have taken it."""
        if room not in self.spare:
            self.spare[room] = pinned(torch.empty_like(like, device="cpu"))

    def _in_capture(self, table: Tensor, device: torch.device, room: Hashable) -> Tensor:
        """Return a table that is uploaded at every replay, from memory that stays as it is."""
        host = self.spare.pop(room, None)
        if host is None or host.shape != table.shape:
            host = pinned(table)
        made = torch.empty_like(host.copy_(table), device=device)
        made.copy_(host, non_blocking=True)
        self.captured.extend((host, made))
        return made


class _Table:
    """A table, and the stream on which it came."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.stream = torch.cuda.current_stream(tensor.device)
        self.there = self.stream.record_event()

    def use(self) -> None:
        """Let the current stream wait for the upload, if it was on another."""
        current = torch.cuda.current_stream(self.tensor.device)
        if current != self.stream:
            current.wait_event(self.there)
            self.tensor.record_stream(current)
