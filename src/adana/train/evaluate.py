"""The losses: what training descends, and what an evaluation reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EVAL_BATCH_TOKENS = 4096
"""Tokens per forward pass of an evaluation; fixed, so that no layout changes the result."""
EVALUATION_COLUMNS = ("val_loss", "val_loss_se", "perplexity", "bits_per_byte")


@dataclass(frozen=True)
class Evaluation:
    """Cross-entropy on the fixed validation windows."""

    loss: float
    """Mean cross-entropy in nats per token, without any z-loss."""
    standard_error: float | None
    """Sampling error of `loss` over the windows (nats); None for a single window."""
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


def training_loss(model: nn.Module, tokens: Tensor, z_coeff: float) -> tuple[Tensor, Tensor]:
    """Return (the loss to differentiate, the cross-entropy alone), both means over the tokens.

    `tokens` is int64 of shape (sequences, time + 1); the loss adds
    `z_coeff * mean(logsumexp(logits)^2)`.
    """
    logits = model(tokens[:, :-1]).float()
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    if z_coeff == 0.0:
        return loss, loss.detach()
    return loss + z_coeff * logits.logsumexp(-1).square().mean(), loss.detach()


@torch.no_grad()
def evaluate(
    model: nn.Module, windows: np.ndarray, token_bytes: np.ndarray, device: torch.device
) -> Evaluation:
    """Evaluate `model` on `windows`, int64 of shape (n, time + 1).

    `token_bytes[i]` is how many bytes of text token i stands for. Every window has the same number
    of tokens, so the mean over windows is the mean over tokens, and their scatter its error.
    """
    model.eval()
    per_window = []
    batch = max(1, EVAL_BATCH_TOKENS // (windows.shape[1] - 1))
    for start in range(0, len(windows), batch):
        tokens = torch.from_numpy(windows[start : start + batch]).to(device)
        logits = model(tokens[:, :-1]).float()
        targets = tokens[:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        per_window.append(loss.view(targets.shape).double().mean(1).cpu().numpy())
    model.train()
    losses = np.concatenate(per_window)
    predicted = windows[:, 1:]
    bits = losses.mean() * predicted.size / math.log(2)
    error = float(losses.std(ddof=1)) / math.sqrt(len(losses)) if len(losses) > 1 else None
    return Evaluation(
        loss=float(losses.mean()),
        standard_error=error,
        bits_per_byte=float(bits / max(int(token_bytes[predicted].sum()), 1)),
    )
