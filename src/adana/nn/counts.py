"""Parameters and FLOPs under the conventions the field uses (spec/scaling_laws.md section 1).

Published "sizes" differ by what they leave out, so every count here is named.
"""

from __future__ import annotations

from dataclasses import dataclass

from adana.nn.enoki import EnokiConfig

PFH = 3.6e18
"""FLOPs in one petaFLOP/s-hour, the unit of compute C."""


@dataclass(frozen=True)
class Counts:
    """Parameter counts of one model."""

    non_embedding: int
    """P: 12 d^2 L, without norms, embedding and head. The size that laws are stated in."""
    total: int
    """N: P plus embedding and head, without norms. Token budgets are multiples of it."""
    exact: int
    """Every trainable number, norm gains included."""


def count_parameters(config: EnokiConfig) -> Counts:
    """Count an Enoki model's parameters (spec/training.md section 1.1)."""
    d, layers = config.width, config.depth
    non_embedding = 12 * d * d * layers
    total = non_embedding + 2 * config.vocab_size * d
    gains = layers * (2 * d + (2 * config.head_dim if config.qk_norm else 0)) + d
    return Counts(non_embedding=non_embedding, total=total, exact=total + gains)


def training_flops(config: EnokiConfig, tokens: float) -> dict[str, float]:
    """FLOPs of training on `tokens` tokens, under each convention.

    `6PD` counts non-embedding parameters (the one the published figures use; `6N1` there is the
    same number for Enoki), `6N2` adds one embedding-sized matrix for the head, `M` adds attention
    over the sequence instead. Optimizer FLOPs are ignored.
    """
    d, layers = config.width, config.depth
    body = 72 * layers * d * d
    return {
        "6PD": 6.0 * count_parameters(config).non_embedding * tokens,
        "6N1": float(body * tokens),
        "6N2": float((body + 6 * config.vocab_size * d) * tokens),
        "M": float((body + 12 * layers * d * config.sequence_length) * tokens),
    }
