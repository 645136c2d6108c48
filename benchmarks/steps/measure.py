"""How a step is measured: times in turns, memory, the first step, and what was compiled.

All candidates update the same parameters from the same gradients, one after another in every
round, and so does a copy, so that a busy machine slows all alike. The order is another in every
round: what a step leaves in the caches is a few percent of the next one's time. The learning rate
changes every round, as schedules change it: what compiles anew because of it shows.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adana.optim import scratch

WARM_UP = 3
BUFFER = 1 << 30
"""Most bytes of a buffer of the copy; more traffic makes several copies."""
STATE_AND_ROOM = 16
"""Bytes a parameter that must be free for one more candidate: three averages, temporaries."""
CACHES = ("ADANA_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Environment variables that say where compiled code is kept."""
COMPILER = re.compile(r"(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|icx|icpx|nvcc|ptxas)(-[\d.]+)?")


class Times(NamedTuple):
    """Seconds, a value for each round."""

    step: list[float]
    """Of the device: between events on a GPU, by the clock on a CPU."""
    host: list[float]
    """Until the call returned."""


def progress(text: str) -> None:
    """Say on a terminal what is being done, in one line that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# --- compilations ---------------------------------------------------------------------------------


class Compilations:
    """Counts graphs that Dynamo compiled and compilers that this process started."""

    _started = 0
    _listening = False

    @classmethod
    def count(cls) -> int:
        """Return how many there were in this process since the first call."""
        if not cls._listening:
            cls._listening = True
            sys.addaudithook(cls._hear)
        graphs = 0
        if "torch._dynamo" in sys.modules:
            counters = sys.modules["torch._dynamo"].utils.counters
            graphs = counters["stats"]["unique_graphs"]
        return cls._started + graphs

    @classmethod
    def _hear(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and is_compilation(arguments[0], arguments[1]):
            cls._started += 1


def is_compilation(executable: Any, arguments: Any) -> bool:
    """Return whether a command makes a compiler write a file."""
    if not isinstance(arguments, list | tuple):
        arguments = str(arguments).split()
    program = os.path.basename(str(executable or arguments[0]))
    return bool(COMPILER.fullmatch(program)) and "-o" in [str(x) for x in arguments]


# --- time -----------------------------------------------------------------------------------------


def timed(run: Callable[[], Any], device: str) -> tuple[float, float]:
    """Return the seconds that `run` took on the device, and until it returned."""
    if device == "cpu":
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        return seconds, seconds
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    start = time.perf_counter()
    run()
    host = time.perf_counter() - start
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1e3, host


def set_learning_rate(optimizer: Any, lr: float, share: float) -> None:
    """Set the learning rate of all groups to a share of the highest, as a schedule would."""
    for group in optimizer.param_groups:
        group["lr"] = lr * share


def in_turns(
    optimizers: dict[str, Any], others: dict[str, Callable[[], Any]], rounds: int, device: str
) -> tuple[dict[str, Times], dict[str, int]]:
    """Let all take turns; return the times of each, and what each compiled meanwhile."""
    times = {name: Times([], []) for name in (*optimizers, *others)}
    compiled = dict.fromkeys(optimizers, 0)
    highest = {name: float(o.param_groups[0]["lr"]) for name, o in optimizers.items()}
    runs = {**{name: o.step for name, o in optimizers.items()}, **others}
    shuffled = random.Random(0)
    for round_ in range(WARM_UP + rounds):
        progress(f"round {round_ + 1} of {WARM_UP + rounds}")
        for name in shuffled.sample(sorted(runs), len(runs)):
            if name in optimizers:
                share = 1 - round_ / (WARM_UP + rounds)
                set_learning_rate(optimizers[name], highest[name], share)
            before = Compilations.count()
            step, host = timed(runs[name], device)
            if name in optimizers:
                compiled[name] += Compilations.count() - before
            if round_ >= WARM_UP:
                times[name].step.append(step)
                times[name].host.append(host)
    return times, compiled


def copy_of(traffic: int, device: str) -> Callable[[], None]:
    """Return a function that copies so much memory that `traffic` bytes are read and written."""
    half = max(1, traffic // 2)
    source = torch.ones(min(half, BUFFER), dtype=torch.uint8, device=device)
    target = torch.ones_like(source)  # not zeros, which a CPU need not have in memory

    def copy() -> None:
        left = half
        while left > 0:
            some = min(left, source.numel())
            target[:some].copy_(source[:some])
            left -= some

    return copy


# --- memory ---------------------------------------------------------------------------------------


def peak_bytes(run: Callable[[], Any], device: str) -> int:
    """Return the most bytes allocated at once during `run`, beyond what is there before it."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    scratch.release()  # what the optimizers keep between steps is theirs too
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def state_bytes(optimizer: Any) -> int:
    """Return the bytes of all tensors in the state but scalars."""
    tensors = [x for state in optimizer.state.values() for x in state.values()]
    return sum(x.nbytes for x in tensors if isinstance(x, torch.Tensor) and x.ndim)


def free_bytes(device: str) -> float:
    """Return how much memory is free; infinite where it is not known."""
    if device != "cpu":
        return float(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * float(found[0]) if found else float("inf")


# --- the first step -------------------------------------------------------------------------------


def first_steps_elsewhere(command: Sequence[str]) -> tuple[float, float]:
    """Return the seconds of the first step in two new processes: empty caches, then filled ones.

    `command` prints the seconds in its last line.
    """
    with tempfile.TemporaryDirectory(prefix="adana-first-step-") as folder:
        environment = {**os.environ, **{name: f"{folder}/{name.lower()}" for name in CACHES}}
        cold, warm = (
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            for _ in range(2)
        )
    return float(cold.stdout.split()[-1]), float(warm.stdout.split()[-1])


def wake_up(device: str) -> None:
    """Do what the first optimizer of a process pays for all: imports, the device's start."""
    p = torch.nn.Parameter(torch.zeros(2, 2, device=device))
    p.grad = torch.ones_like(p)
    for fused in (True, False):
        torch.optim.AdamW([p], lr=1e-3, fused=fused).step()
    if device != "cpu":
        torch.cuda.synchronize()
