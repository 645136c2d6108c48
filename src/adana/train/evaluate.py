"""What an evaluation reports: cross-entropy on fixed windows, whatever the layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from adana.train.parallelize import part_again
from adana.train.world import World

EVAL_BATCH_TOKENS = 4096
"""Tokens per forward pass of an evaluation; fixed, so that no layout changes the result."""
EVALUATION_COLUMNS = ("val_loss", "val_loss_document_se", "perplexity", "bits_per_byte")


@dataclass(frozen=True)
class Evaluation:
    """Cross-entropy on the fixed validation windows."""

    loss: float
    """Mean cross-entropy in nats per token, without any z-loss."""
    standard_error: float | None
    """Sampling error of `loss` over the documents (nats); None for a single one."""
    bits_per_byte: float
    """Bits per byte of the text the target tokens stand for; comparable between tokenizers."""

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that overflows."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    def columns(self) -> dict[str, float | None]:
        """Return the numbers under the names that `metrics.jsonl` and `summary.json` use."""
        values = (self.loss, self.standard_error, self.perplexity, self.bits_per_byte)
        return dict(zip(EVALUATION_COLUMNS, values, strict=True))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    forward: Callable[..., Any],
    windows: np.ndarray,
    token_bytes: np.ndarray,
    world: World,
    *,
    documents: np.ndarray,
) -> Evaluation:
    """Evaluate `model` through `forward` on `windows`, int64 of shape (n, time + 1).

    `token_bytes[i]` is how many bytes of text token i stands for; `documents` (n,) says which
    document each window is of. Every window has the same number of tokens, so the mean over windows
    is the mean over tokens. The ranks share the windows out; which are computed together does not
    depend on how many they are.
    """
    model.eval()
    size = max(1, EVAL_BATCH_TOKENS // (windows.shape[1] - 1))
    batches = [windows[start : start + size] for start in range(0, len(windows), size)]
    own = {}
    # All ranks make equally many passes (shards need it); what is left over is computed again.
    for turn in range(-(-len(batches) // world.size)):
        index = turn * world.size + world.rank
        tokens = torch.from_numpy(batches[min(index, len(batches) - 1)]).to(world.device)
        terms = forward(tokens[:, :-1], tokens[:, 1:])
        if index < len(batches):
            own[index] = terms.cross_entropy.double().cpu().numpy()
    model.train()
    if world.size > 1:
        part_again(model)
    found = {index: losses for part in world.gather(own) for index, losses in part.items()}
    losses = np.concatenate([found[index] for index in range(len(batches))])
    targets = windows[:, 1:]
    bits = losses.mean() * targets.size / math.log(2)
    return Evaluation(
        loss=float(losses.mean()),
        standard_error=error_of_mean(losses, documents),
        bits_per_byte=float(bits / max(int(token_bytes[targets].sum()), 1)),
    )


def error_of_mean(losses: np.ndarray, documents: np.ndarray) -> float | None:
    """Return the standard error of the mean of `losses` (n,) if other documents had been drawn.

    In the unit of the losses; `documents` (n,) holds a number for each document. These are what is
    drawn: losses of one are alike (on the demo's corpus the scatter of single windows would give a
    quarter of this). It is the cluster-robust error, whose square is made unbiased for documents of
    unequal lengths that differ by as much. None where there is one document only. Pieces of a long
    file count as documents, though they are more alike.
    """
    own = np.unique(documents, return_inverse=True)[1]
    shares = np.bincount(own) / len(losses)
    if len(shares) < 2:
        return None
    sums = np.bincount(own, losses - losses.mean()) / len(losses)
    two, three = np.sum(shares**2), np.sum(shares**3)
    return float(np.sqrt(np.sum(sums**2) * two / (two - 2 * three + two**2)))
