"""Parameters and FLOPs under the conventions the field uses (spec/scaling_laws.md section 1).

Published "sizes" differ by what they leave out, so every count here is named.
"""

from __future__ import annotations

from dataclasses import dataclass

from adana.nn.config import EnokiConfig, ModelConfig, Qwen3Config


@dataclass(frozen=True)
class Counts:
    """Parameter counts of one model."""

    non_embedding: int
    """P, the size that laws are stated in: 12 d^2 L for Enoki and 8 d^2 L for the LSTM, without
    norms and biases; L (14 d^2 + 2 head_dim + 2 d) + d for Qwen3, with norms."""
    total: int
    """N: P plus embedding and head. Token budgets are multiples of it."""
    exact: int
    """Every trainable number, norm gains and biases included."""


def count_parameters(config: ModelConfig) -> Counts:
    """Count a model's parameters (spec/training.md sections 1.1, 1.2 and 2).

    Enoki's P and N are nominal, as its published ladder has them. Qwen3's are true: the published
    launcher's 12 d^2 L is a fault, which the published fits do not share (spec/reference_gaps.md
    1.5).
    """
    d, layers = config.width, config.depth
    vectors = layers * 2 * d + d  # the gains of two norms a block, and of the last
    if isinstance(config, EnokiConfig):
        body = 12 * d * d * layers
        vectors += layers * 2 * config.head_dim * config.qk_norm
    elif isinstance(config, Qwen3Config):
        body = 14 * d * d * layers + layers * 2 * config.head_dim + vectors
        vectors = 0
    else:
        body = 8 * d * d * layers
        vectors = layers * (8 * d + d) + d  # two biases of four gates, and one norm, a block
    total = body + 2 * config.vocab_size * d
    return Counts(non_embedding=body, total=total, exact=total + vectors)


def training_flops(config: ModelConfig, tokens: float) -> dict[str, float]:
    """FLOPs of training on `tokens` tokens, under each convention.

    `6PD` counts non-embedding parameters (the one the published figures use); `6N1` the matrices of
    the blocks, taken as 12 d^2 a layer for both transformers (the same number for Enoki; for Qwen3,
    which has 14 d^2, it counts too few, as published) and 8 d^2 for the LSTM; `6N2` adds one
    embedding-sized matrix for the head; `M` adds attention over the sequence to `6N1` instead, of
    which the LSTM has none. Optimizer FLOPs are ignored.
    """
    d, layers = config.width, config.depth
    transformer = isinstance(config, EnokiConfig | Qwen3Config)
    body = 6 * (12 if transformer else 8) * d * d * layers
    attention = 12 * layers * d * config.sequence_length if transformer else 0
    return {
        "6PD": 6.0 * count_parameters(config).non_embedding * tokens,
        "6N1": float(body * tokens),
        "6N2": float((body + 6 * config.vocab_size * d) * tokens),
        "M": float((body + attention) * tokens),
    }


def model_flops(config: ModelConfig, tokens: float) -> float:
    """FLOPs of all matrix products of training on `tokens` tokens: what a device does.

    6 (P + V d) D for the matrices, the head's among them, and attention's 12 L d S D, with P of the
    family (`6PD + (6N2 - 6N1) + (M - 6N1)`): what a model FLOP utilization (MFU) and an estimate of
    hours are made of. Causal attention is counted in full, as MFU usually does; the optimizer is
    not counted.
    """
    flops = training_flops(config, tokens)
    return flops["6PD"] + (flops["6N2"] - flops["6N1"]) + (flops["M"] - flops["6N1"])
