"""Lists of parameters: the shapes of real models, and shapes that are hard on an optimizer.

Muon and its kin treat matrices of hidden layers alone, so each shape says whether it is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from adana.ladder.learning_rates import DEMO_MODEL
from adana.nn import build_model


class Entry(NamedTuple):
    """One parameter."""

    shape: tuple[int, ...]
    hidden: bool = False
    """Whether it is a matrix of a hidden layer."""

    @property
    def count(self) -> int:
        """Return how many numbers it holds."""
        return math.prod(self.shape)


List = list[Entry]


def uniform(millions: float, tensors: int) -> List:
    """Return `tensors` square matrices, or nearly square, of `millions` parameters in all."""
    each = max(1, int(millions * 1e6) // tensors)
    rows = math.isqrt(each)
    return [Entry((rows, each // rows), hidden=True)] * tensors


def gpt2() -> List:
    """Return the 148 tensors of GPT-2 small with tied embeddings: 124,439,808 parameters."""
    d = 768
    norm = [Entry((d,)), Entry((d,))]
    block = [
        *norm,
        *(Entry((d, 3 * d), hidden=True), Entry((3 * d,))),
        *(Entry((d, d), hidden=True), Entry((d,))),
        *norm,
        *(Entry((d, 4 * d), hidden=True), Entry((4 * d,))),
        *(Entry((4 * d, d), hidden=True), Entry((d,))),
    ]
    return [Entry((50_257, d)), Entry((1024, d)), *block * 12, *norm]


def llama_1b() -> List:
    """Return the 146 tensors of Llama 3.2 1B with tied embeddings: 1,235,814,400 parameters."""
    d, keys, inner = 2048, 512, 8192
    attention = [(d, d), (keys, d), (keys, d), (d, d)]
    mlp = [(inner, d), (inner, d), (d, inner)]
    block = [Entry(shape, hidden=True) for shape in (*attention, *mlp)] + [Entry((d,))] * 2
    return [Entry((128_256, d)), *block * 16, Entry((d,))]


def demo() -> List:
    """Return the 19 tensors of the demo's model: 229,824 parameters; Python's share shows."""
    with torch.device("meta"):
        model = build_model(DEMO_MODEL, seed=None)
    outside = ("embedding", "head")
    return [
        Entry(tuple(p.shape), hidden=p.ndim == 2 and not name.startswith(outside))
        for name, p in model.named_parameters()
    ]


def many_small() -> List:
    """Return 1200 tensors of 16 to 16,384 numbers, 3.9 million in all, as in narrow deep models."""
    shapes = [(16,), (64,), (256,), (32, 32), (16, 128), (128, 128)]
    return [Entry(shape, hidden=len(shape) == 2) for shape in shapes] * 200


LISTS: dict[str, Callable[[], List]] = {
    "gpt2-124m": gpt2,
    "1b": llama_1b,
    "enoki-0.23m": demo,
    "many-small": many_small,
}
"""The lists by name, but for `uniform`, which takes numbers."""


def parameters(entries: List, device: str, dtype: torch.dtype) -> list[torch.nn.Parameter]:
    """Return parameters with gradients, small random numbers both."""
    generator = torch.Generator(device).manual_seed(0)
    params = []
    for entry in entries:
        p, p_grad = (
            torch.randn(entry.shape, generator=generator, device=device, dtype=dtype) * scale
            for scale in (0.02, 1e-3)
        )
        params.append(torch.nn.Parameter(p))
        params[-1].grad = p_grad
    return params
