"""How fast this machine multiplies matrices: what a model's speed is measured against.

The peak of a data sheet is out of reach of any program, and CPUs state none. The best that one
large matrix product does here is a ceiling that a training can be compared with on this machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

CPU_SIZES, GPU_SIZES = (512, 1024, 2048), (4096, 8192)
"""Rows and columns of the matrices: which size is fastest depends on caches and cores."""
SECONDS = 0.1
"""How long each size is repeated; the fastest counts, as others may use the machine."""
MIN_REPEATS = 3


def measure_matmul_peak(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    sizes: Sequence[int] | None = None,
    seconds: float = SECONDS,
) -> float:
    """Return the FLOP/s of the fastest of several square matrix products.

    Counts `2 n^3` for a product of (n, n) matrices. On the CPU it uses torch's threads, on a GPU
    TF32 for float32 where torch is told to (`torch.set_float32_matmul_precision`).

    Args:
        device: where to multiply.
        dtype: of the matrices; bfloat16 for what trains under autocast.
        sizes: the n to try; default 512, 1024 and 2048 on the CPU, 4096 and 8192 elsewhere.
        seconds: how long to repeat each, after one to warm up.
    """
    device = torch.device(device)
    sizes = sizes or (CPU_SIZES if device.type == "cpu" else GPU_SIZES)
    return max(_speed(device, dtype, n, seconds) for n in sizes)


def _speed(device: torch.device, dtype: torch.dtype, n: int, seconds: float) -> float:
    left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    result = left @ right
    _wait(device)
    fastest, repeats, end = math.inf, 0, time.perf_counter() + seconds
    while repeats < MIN_REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        torch.matmul(left, right, out=result)
        _wait(device)
        fastest = min(fastest, time.perf_counter() - start)
        repeats += 1
    return 2 * n**3 / fastest


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
