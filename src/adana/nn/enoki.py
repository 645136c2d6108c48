"""Enoki: the GPT-3-like decoder of the ADana paper (spec/training.md section 1.1).

Pre-norm blocks, LayerNorm on queries and keys, rotary positions, no biases, no dropout, untied
embedding and head. A rung of the ladder is one number, the heads H: width 64 H, floor(3 H / 4)
layers. `head_dim` and `layers` are free, so that rungs small enough for a laptop exist.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana.nn.config import EnokiConfig
from adana.nn.init import initialise

NORM_EPS = 1e-5
ROPE_BASE = 10_000.0


class Attention(nn.Module):
    """Causal self-attention with one fused projection, QK-norm and rotary positions."""

    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()
        if config.qk_norm:
            self.q_norm = nn.LayerNorm(config.head_dim, eps=NORM_EPS, bias=False)
            self.k_norm = nn.LayerNorm(config.head_dim, eps=NORM_EPS, bias=False)

    def forward(self, x: Tensor, rotary: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape; `rotary` is (time, head_dim / 2)."""
        batch, time, width = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.heads, self.head_dim).transpose(1, 3)
        q, k, v = qkv.unbind(2)  # (batch, heads, time, head_dim)
        q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, rotary).to(v.dtype), rotate(k, rotary).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    """Attention, then a GELU MLP of four times the width, each on a pre-normed residual."""

    def __init__(self, config: EnokiConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=NORM_EPS, bias=False)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=NORM_EPS, bias=False)
        self.mlp_in = nn.Linear(config.width, 4 * config.width, bias=False)
        self.mlp_out = nn.Linear(4 * config.width, config.width, bias=False)

    def forward(self, x: Tensor, rotary: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.attention_norm(x), rotary)
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class Enoki(nn.Module):
    """The language model: tokens (batch, time) to logits (batch, time, vocab_size).

    The initial weights (ScaledGPT, spec/training.md section 1.3) are a function of `seed` and the
    parameters' names.
    """

    rotary: Tensor

    def __init__(self, config: EnokiConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS, bias=False)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        rotary = rotary_table(config.sequence_length, config.head_dim)
        self.register_buffer("rotary", rotary, persistent=False)
        initialise(self, seed, self.initial_std)

    def initial_std(self, name: str, parameter: nn.Parameter) -> float:
        """ScaledGPT: N(0, 1/fan_in), the residual projections by 1/sqrt(2 L) smaller.

        The embedding is N(0, 1/d); d is also the length of its rows.
        """
        variance = 1 / parameter.shape[1]
        if name.endswith(("attention.out.weight", "mlp_out.weight")):
            variance /= 2 * self.config.depth
        return variance**0.5

    def forward(self, tokens: Tensor) -> Tensor:
        """Return next-token logits for int64 `tokens` of shape (batch, time)."""
        time = tokens.shape[1]
        if time > self.config.sequence_length:
            raise ValueError(
                f"got {time} tokens, the model was built for at most {self.config.sequence_length}"
            )
        rotary = self.rotary[:time]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, rotary)
        return self.head(self.norm(x))


def rotary_table(length: int, head_dim: int) -> Tensor:
    """Return `exp(i * position * 10000^(-2 j / head_dim))`, complex64 (length, head_dim / 2)."""
    frequency = ROPE_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotate the interleaved channel pairs (2j, 2j+1) of (..., time, head_dim), in float32.

    A pair is the real and imaginary part of one number, and a rotation is one product: a third of
    the time of four products of halves.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotary).flatten(-2)
