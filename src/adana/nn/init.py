"""Initial weights that depend on the seed and the parameter's name, and on nothing else.

Each parameter gets a generator of its own, seeded by a hash of (seed, name), so that the weights
are the same whatever the order of construction, the sharding or the number of ranks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adana.dtensors import is_dtensor
from adana.nn.config import InitScheme

SMALL_STD = 0.02
"""Standard deviation of the small-std scheme (GPT-2's)."""


@dataclass(frozen=True)
class Scheme:
    """Standard deviations of normal initial weights; norm gains are always 1, biases 0."""

    matrix: Callable[[int], float]
    """Of a linear or recurrent matrix and of the head, from its number of columns (fan-in)."""
    embedding: Callable[[int], float]
    """Of the embedding, from the width."""
    scale_residual: bool
    """Divide by sqrt(2 L) in the projections that write to the residual stream."""


def _fan_in(columns: int) -> float:
    return columns**-0.5


SCHEMES: dict[InitScheme, Scheme] = {
    "scaled-gpt": Scheme(_fan_in, _fan_in, scale_residual=True),
    "standard": Scheme(_fan_in, lambda width: 1.0, scale_residual=False),
    "small-std": Scheme(lambda columns: SMALL_STD, lambda width: SMALL_STD, scale_residual=True),
}
"""The schemes of spec/training.md section 1.3: ScaledGPT, Standard and KarpathyGPT2 there."""


def residual_std(std: float, depth: int) -> float:
    """Return the deviation of a residual projection in a model of `depth` blocks."""
    return std / math.sqrt(2 * depth)


def parameter_generator(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator seeded by (seed, parameter name)."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal(shape: torch.Size, std: float, seed: int, name: str) -> Tensor:
    """Return N(0, std^2) draws of the generator of (seed, name), float32 on the CPU."""
    generator = parameter_generator(seed, name)
    return torch.randn(shape, generator=generator, device="cpu") * std


@torch.no_grad()
def fill(parameter: Tensor, value: Tensor) -> None:
    """Copy the whole `value` into a parameter, or this rank's part of it into a `DTensor`.

    No rank sends anything: each has drawn the same value.
    """
    if is_dtensor(parameter):
        from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

        mesh, placements = parameter.device_mesh, parameter.placements
        part = distribute_tensor(value, mesh, placements, src_data_rank=None)
        parameter.to_local().copy_(part.to_local())
    else:
        parameter.copy_(value)
