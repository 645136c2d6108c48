"""Time and memory of one optimizer step: the family against torch.optim.AdamW's foreach path.

    python benchmarks/optimizer_step.py [--millions 10] [--tensors 40] [--rounds 30] [--threads 1]

All candidates own parameters of the same shapes and take turns in every round, so that a busy
machine slows them all alike. Printed are the median time with the middle half of the rounds, the
median ratio to AdamW's foreach path, the state in bytes a parameter, and the peak of the step's
temporaries: the most memory allocated at once during a step, in bytes a parameter. The total is
what a step needs in all, parameters and gradients included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import adana
from adana.optim import scratch

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
T = {"lr": 1e-3, "total_steps": 10_000}
CANDIDATES: dict[str, Make] = {
    "AdamW foreach": lambda ps: torch.optim.AdamW(ps, lr=1e-3, foreach=True),
    "AdamW for-loop": lambda ps: torch.optim.AdamW(ps, lr=1e-3, foreach=False),
    "AdamW fused": lambda ps: torch.optim.AdamW(ps, lr=1e-3, fused=True),
    "ADana": lambda ps: adana.ADana(ps, **T),
    "ADana single-tensor": lambda ps: adana.ADana(ps, **T, foreach=False),
    "LogAdamW": lambda ps: adana.LogAdamW(ps, **T),
    "Dana": lambda ps: adana.Dana(ps, **T),
    "LogAdEMAMix": lambda ps: adana.LogAdEMAMix(ps, **T),
    "DanaMK4": lambda ps: adana.DanaMK4(ps, **T),
    "DanaStar": lambda ps: adana.DanaStar(ps, **T),
    "DanaStarMK4": lambda ps: adana.DanaStarMK4(ps, **T),
}
REFERENCE = "AdamW foreach"
WARM_UP = 3


def parameters(count: int, tensors: int, device: str) -> list[torch.nn.Parameter]:
    shape = count // tensors
    params = [torch.nn.Parameter(torch.randn(shape, device=device) * 0.02) for _ in range(tensors)]
    for p in params:
        p.grad = torch.randn_like(p) * 1e-3
    return params


def timings(optimizers: dict[str, Any], rounds: int, device: str) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in optimizers}
    for round_ in range(rounds + WARM_UP):
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            optimizer.step()
            if device != "cpu":
                torch.cuda.synchronize()
            if round_ >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    return times


def peak_of_temporaries(optimizer: torch.optim.Optimizer, device: str) -> int:
    """Return the most bytes allocated at once during a step, beyond what is there before it."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        optimizer.step()
        return torch.cuda.max_memory_allocated() - before
    scratch.release()  # what the optimizers keep between steps is theirs too
    with torch.profiler.profile(profile_memory=True) as profile:
        optimizer.step()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    tensors = [x for state in optimizer.state.values() for x in state.values()]
    return sum(x.numel() * x.element_size() for x in tensors if isinstance(x, torch.Tensor))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, default=10.0, help="parameters, in millions")
    parser.add_argument("--tensors", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, help="CPU threads; one is the least noisy")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    count = int(arguments.millions * 1e6) // arguments.tensors * arguments.tensors
    optimizers = {
        name: make(parameters(count, arguments.tensors, arguments.device))
        for name, make in CANDIDATES.items()
    }
    times = timings(optimizers, arguments.rounds, arguments.device)
    where = arguments.device
    if where != "cpu":
        where = torch.cuda.get_device_name()
    print(f"{count / 1e6:g} M parameters in {arguments.tensors} tensors, {where}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}")  # fmt: skip
    print(f"{'':20}{'median ms':>10}{'middle half':>18}{'ratio':>8}{'state B':>9}"
          f"{'peak B':>8}{'total B':>9}")  # fmt: skip
    for name, values in times.items():
        low, middle, high = (1e3 * q for q in statistics.quantiles(values, n=4))
        pairs = zip(values, times[REFERENCE], strict=True)
        ratio = statistics.median(value / reference for value, reference in pairs)
        state = state_bytes(optimizers[name]) / count
        peak = peak_of_temporaries(optimizers[name], arguments.device) / count
        print(f"{name:20}{middle:10.2f}{low:9.2f}{high:9.2f}{ratio:8.2f}{state:9.1f}"
              f"{peak:8.1f}{8 + state + peak:9.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
