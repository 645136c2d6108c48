"""Time of one optimizer step: ADana against torch.optim.AdamW, on the same parameters.

    python benchmarks/optimizer_step.py [--millions 10] [--tensors 40] [--rounds 30]

The candidates take turns in every round, so that a busy machine slows them all alike. Printed are
the median, the middle half of the rounds, and the median ratio to AdamW's foreach path.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import adana

CANDIDATES: dict[str, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "AdamW foreach": lambda ps: torch.optim.AdamW(ps, lr=1e-3, foreach=True),
    "AdamW for-loop": lambda ps: torch.optim.AdamW(ps, lr=1e-3, foreach=False),
    "AdamW fused": lambda ps: torch.optim.AdamW(ps, lr=1e-3, fused=True),
    "ADana foreach": lambda ps: adana.ADana(ps, lr=1e-3, total_steps=10_000, foreach=True),
    "ADana single": lambda ps: adana.ADana(ps, lr=1e-3, total_steps=10_000, foreach=False),
    "LogAdamW foreach": lambda ps: adana.LogAdamW(ps, lr=1e-3, total_steps=10_000),
}
REFERENCE = "AdamW foreach"


def parameters(count: int, tensors: int) -> list[torch.nn.Parameter]:
    params = [torch.nn.Parameter(torch.randn(count // tensors) * 0.02) for _ in range(tensors)]
    for p in params:
        p.grad = torch.randn_like(p) * 1e-3
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, default=10.0, help="parameters, in millions")
    parser.add_argument("--tensors", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    count = int(arguments.millions * 1e6)
    optimizers = {
        name: make(parameters(count, arguments.tensors)) for name, make in CANDIDATES.items()
    }
    times: dict[str, list[float]] = {name: [] for name in optimizers}
    for round_ in range(arguments.rounds + 3):
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            optimizer.step()
            if round_ >= 3:
                times[name].append(time.perf_counter() - start)
    print(f"{count / 1e6:g} M parameters in {arguments.tensors} tensors, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}")  # fmt: skip
    print(f"{'':18}{'median ms':>10}{'middle half':>18}{'ratio':>8}")
    for name, values in times.items():
        low, middle, high = (1e3 * q for q in statistics.quantiles(values, n=4))
        pairs = zip(values, times[REFERENCE], strict=True)
        ratio = statistics.median(value / reference for value, reference in pairs)
        print(f"{name:18}{middle:10.2f}{low:9.2f}{high:9.2f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
