"""The processes that train one run together, and the few things they say to each other.

A run is started once (`python -m adana train ...`) or by `torchrun`, which starts the same command
once per device. The first rank decides and writes; the others follow. Everything the loop needs to
know of the others goes through `World`, and a world of one is the ordinary case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from adana.runs import RunError

T = TypeVar("T")

PATIENCE = timedelta(days=2)
"""How long ranks wait for the first one to decide, which may be preparing a large corpus."""
TRAINING_PATIENCE = timedelta(minutes=30)
"""How long they wait for each other in a training, as long as torch's own exchanges of gloo: all
evaluate and save together, so a rank that is later than this hangs, or its machine is gone."""


@dataclass(frozen=True)
class World:
    """The ranks of one run, as one of them sees it."""

    device: torch.device
    """Where this rank computes."""
    rank: int = 0
    size: int = 1
    control: Any = None
    """A gloo group for decisions, with `PATIENCE` or, in a training, `TRAINING_PATIENCE`; None in a
    world of one."""

    @property
    def first(self) -> bool:
        """Whether this is the rank that decides and writes."""
        return self.rank == 0

    def in_training(self) -> World:
        """Return the same ranks with `TRAINING_PATIENCE` for each other. All of them call it."""
        if self.size == 1:
            return self
        control = dist.new_group(backend="gloo", timeout=TRAINING_PATIENCE)
        return dataclasses.replace(self, control=control)

    def decide(self, choose: Callable[[], T]) -> T:
        """Return on every rank what `choose` returns on the first one.

        Raises everywhere what it raises there.
        """
        if self.size == 1:
            return choose()
        answer: list[Any] = [None]
        if self.first:
            try:
                answer = [(True, choose())]
            except Exception as error:  # whatever it is, the others must not wait for an answer
                dist.broadcast_object_list([(False, _sendable(error))], src=0, group=self.control)
                raise
        dist.broadcast_object_list(answer, src=0, group=self.control)
        fine, value = answer[0]
        if not fine:
            raise value
        return value

    def mean(self, values: Tensor) -> list[float]:
        """Return the mean of each of `values` (1-d) over the ranks, as Python floats."""
        if self.size > 1:
            values = values / self.size
            dist.all_reduce(values)
        return values.tolist()

    def gather(self, value: T) -> list[T]:
        """Return the `value` of every rank, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def together(self, work: Callable[[], T]) -> T:
        """Do this rank's part of something that all must finish; raise on all if one failed."""
        error: Exception | None = None
        result: Any = None
        try:
            result = work()
        except (OSError, RuntimeError, ValueError) as problem:
            error = problem
        failures = [e for e in self.gather(None if error is None else _sendable(error)) if e]
        if error is not None:
            raise error
        if failures:
            raise failures[0]
        return result


def ranks_expected() -> int:
    """How many processes `torchrun` (or whoever set WORLD_SIZE) started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_ranks() -> int:
    """How many of them run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def join_world(device: str) -> Iterator[World]:
    """Connect to the other ranks, if there are any, for the time of the block.

    Uses the process group that is there; else the environment that `torchrun` sets (RANK,
    WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), with NCCL between GPUs and gloo between CPUs.

    Raises:
        ValueError: `device` cannot be used here.
        RunError: the ranks could not be connected.
    """
    if dist.is_initialized():
        yield _world(device)
        return
    if ranks_expected() == 1:
        yield World(pick_device(device))
        return
    where = pick_device(device)
    try:
        backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
        dist.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"this process could not join the {ranks_expected()} ranks of the run: {error}. "
            "Start all of them with torchrun, which sets RANK, WORLD_SIZE, MASTER_ADDR and "
            "MASTER_PORT, and check that the nodes reach that address."
        ) from error
    try:
        yield _world(device)
    finally:
        dist.destroy_process_group()


def _world(device: str) -> World:
    where, size = pick_device(device), dist.get_world_size()
    if size == 1:
        return World(where)
    control = dist.new_group(backend="gloo", timeout=PATIENCE)
    return World(where, dist.get_rank(), size, control)


def pick_device(name: str) -> torch.device:
    """Return the torch device called `name`; "auto" is a GPU if there is one, else the CPU.

    Of several GPUs, "auto" and "cuda" are the one with this process's LOCAL_RANK.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
    except RuntimeError as error:  # which lists two dozen kinds
        raise ValueError(
            f"device {name!r} is unknown, expected cpu, cuda, cuda:1, ... or auto"
        ) from error
    try:
        torch.empty(0, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]}"
        ) from error
    return device


def gpus_to_share(device: str) -> tuple[str, ...]:
    """Return the GPUs that trainings on `device` can be spread over, as in CUDA_VISIBLE_DEVICES.

    Those that this process sees, if there are several and the name leaves open which; else none.
    """
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if count < 2:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return tuple(visible.split(",")[:count])


def lost_contact(error: BaseException) -> bool:
    """Whether an error is that of an exchange that another rank did not take part in."""
    words = ("gloo", "nccl", "peer", "connection")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _sendable(error: Exception) -> Exception:
    """Return the error itself if it can go to another process, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickling calls whatever the error's class defines
        return RunError(f"{type(error).__name__}: {error}")
    return error
