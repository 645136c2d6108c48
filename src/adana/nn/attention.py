"""What the transformers' attention has in common: rotary positions and the causal softmax.

RoPE with base 10000 over all channels of a head, on interleaved pairs, in float32, after QK-norm
(spec/training.md section 1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ROPE_BASE = 10_000.0


def attend(q: Tensor, k: Tensor, v: Tensor, rotary: Tensor) -> Tensor:
    """Return causal attention with rotary positions, (batch, time, heads * head_dim).

    `q`, `k` and `v` are (batch, heads, time, head_dim), `rotary` the rows of `rotary_table` for
    these positions. Scores are divided by sqrt(head_dim).
    """
    q, k = rotate(q, rotary).to(v.dtype), rotate(k, rotary).to(v.dtype)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).flatten(2)


def rotary_table(length: int, head_dim: int) -> Tensor:
    """Return cos and sin of position * 10000^(-2 j / head_dim): (length, head_dim / 2, 2).

    Float32, made on the CPU, so that it is the same for every device.
    """
    even = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
    frequency = ROPE_BASE ** (-even / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), frequency)
    return torch.stack((angle.cos(), angle.sin()), -1)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotate the channel pairs (2j, 2j+1) of (..., time, head_dim), in float32.

    A pair is the real and imaginary part of one number, and a rotation is one product: run eagerly,
    a third of the time of four products of halves. The compiler fuses those, and cannot generate
    code for complex numbers.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (real, imaginary), (cos, sin) = pairs.unbind(-1), rotary.unbind(-1)
        turned = torch.stack((real * cos - imaginary * sin, real * sin + imaginary * cos), -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotary))
    return turned.flatten(-2)
