"""Initial weights that depend on the seed and the parameter's name, and on nothing else.

Each parameter gets a generator of its own, seeded by a hash of (seed, name), so that the weights
are the same whatever the order of construction, the sharding or the number of ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import nn


def parameter_generator(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator seeded by (seed, parameter name)."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@torch.no_grad()
def initialise(model: nn.Module, seed: int, std: Callable[[str, nn.Parameter], float]) -> None:
    """Fill every parameter with N(0, std^2) draws of its own generator.

    `std(name, parameter)` gives the standard deviation; parameters with fewer than two dimensions
    (norm gains) are set to 1 instead.
    """
    for name, p in model.named_parameters():
        if p.ndim < 2:
            p.fill_(1.0)
        else:
            draw = torch.randn(p.shape, generator=parameter_generator(seed, name))
            p.copy_(draw * std(name, p))
