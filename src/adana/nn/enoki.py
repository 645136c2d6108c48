"""Enoki: the GPT-3-like decoder of the ADana paper (spec/training.md section 1.1).

Pre-norm blocks, LayerNorm on queries and keys, rotary positions, no biases, no dropout, untied
embedding and head. A rung of the ladder is one number, the heads H: width 64 H, floor(3 H / 4)
layers. `head_dim` and `layers` are free, so that rungs small enough for a laptop exist.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from adana.nn.attention import attend
from adana.nn.config import EnokiConfig
from adana.nn.decoder import NORM_EPS, RotaryDecoder


def layer_norm(width: int) -> nn.LayerNorm:
    """Return a LayerNorm with a gain and no bias."""
    return nn.LayerNorm(width, eps=NORM_EPS, bias=False)


class Attention(nn.Module):
    """Causal self-attention with one fused projection, QK-norm and rotary positions."""

    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.q_norm = layer_norm(config.head_dim) if config.qk_norm else nn.Identity()
        self.k_norm = layer_norm(config.head_dim) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor, rotary: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape; `rotary` as for `attend`."""
        batch, time, _ = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.heads, self.head_dim).transpose(1, 3)
        q, k, v = qkv.unbind(2)  # (batch, heads, time, head_dim)
        return self.out(attend(self.q_norm(q), self.k_norm(k), v, rotary))


class Block(nn.Module):
    """Attention, then a GELU MLP of four times the width, each on a pre-normed residual."""

    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        self.attention_norm = layer_norm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = layer_norm(config.width)
        self.mlp_in = nn.Linear(config.width, 4 * config.width, bias=False)
        self.mlp_out = nn.Linear(4 * config.width, config.width, bias=False)

    def forward(self, x: Tensor, rotary: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.attention_norm(x), rotary)
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class Enoki(RotaryDecoder[EnokiConfig]):
    """The language model. With `seed` None the weights are left as torch made them."""

    config_type = EnokiConfig
    residual = ("attention.out.weight", "mlp_out.weight")

    def __init__(self, config: EnokiConfig, seed: int | None = 0) -> None:
        self.check(config)
        blocks = (Block(config) for _ in range(config.depth))
        super().__init__(config, blocks, layer_norm(config.width))
        if seed is not None:
            self.init_weights(seed)
