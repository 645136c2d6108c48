"""The Qwen3-style decoder of the ADana paper (spec/training.md section 1.2).

As Enoki, but with RMSNorm, a SwiGLU MLP of three times the width, and attention whose output each
head multiplies, channel by channel, by a sigmoid gate of its own. A rung is the heads H: width
128 H, 2 H layers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana.nn.attention import attend
from adana.nn.config import Qwen3Config
from adana.nn.decoder import NORM_EPS, RotaryDecoder


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, then multiply by a gain.

    The statistics are float32; the quotient gets the input's dtype back before the gain.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPS)
        return normed.to(x.dtype) * self.weight


class GatedAttention(nn.Module):
    """Causal self-attention with QK-norm, rotary positions and a gate on each head's output.

    Of the 2 * head_dim rows of `query` that belong to a head, the first half makes its query and
    the second its gate.
    """

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query = nn.Linear(width, 2 * width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = RMSNorm(config.head_dim)
        self.k_norm = RMSNorm(config.head_dim)

    def forward(self, x: Tensor, rotary: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape; `rotary` as for `attend`."""
        by_head = (projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for projection in (self.query, self.key, self.value))  # fmt: skip
        fused, k, v = by_head  # (batch, heads, time, channels)
        q, gate = fused.chunk(2, -1)
        y = attend(self.q_norm(q), self.k_norm(k), v, rotary)
        return self.out(y * gate.sigmoid().transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) * up(x)), of three times the width inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 3 * width, bias=False)
        self.up = nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Gated attention, then SwiGLU, each on a pre-normed residual."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = GatedAttention(config)
        self.mlp_norm = RMSNorm(config.width)
        self.mlp = SwiGLU(config.width)

    def forward(self, x: Tensor, rotary: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.attention_norm(x), rotary)
        return x + self.mlp(self.mlp_norm(x))


class Qwen3(RotaryDecoder[Qwen3Config]):
    """The language model. With `seed` None the weights are left as torch made them."""

    config_type = Qwen3Config
    residual = ("attention.out.weight", "mlp.down.weight")

    def __init__(self, config: Qwen3Config, seed: int | None = 0) -> None:
        self.check(config)
        blocks = (Block(config) for _ in range(config.depth))
        super().__init__(config, blocks, RMSNorm(config.width))
        if seed is not None:
            self.init_weights(seed)
