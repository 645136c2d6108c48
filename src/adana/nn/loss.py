"""From hidden states to the loss that training descends and the numbers that are reported.

Training descends mean cross-entropy + z_coeff * mean(logsumexp(logits)^2). The two parts are told
apart, since a reported loss is the cross-entropy alone (spec/reference_gaps.md 1.4).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adana.dtensors import is_dtensor
from adana.nn.chunked import chunked_loss
from adana.nn.liger import liger_loss

Chunk = int | Literal["liger"] | None
"""How the head's logits are made; see `head_loss`."""


class LossTerms(NamedTuple):
    """The loss of one batch and its parts. A tuple, so that FSDP and DDP find `loss` in it."""

    loss: Tensor
    """Mean cross-entropy + z_coeff * mean z over all tokens: the scalar to differentiate."""
    cross_entropy: Tensor
    """Mean cross-entropy of each sequence in nats, (batch,), float32, detached."""
    z: Tensor
    """Mean squared logsumexp of the logits of each sequence, (batch,), float32, detached."""


def head_loss(
    head: nn.Linear, hidden: Tensor, targets: Tensor, z_coeff: float = 0.0, chunk: Chunk = None
) -> LossTerms:
    """Return the losses of predicting `targets`, (batch, time), from `hidden`, (..., width).

    Args:
        head: the layer from width to vocabulary, without a bias.
        hidden: the normed hidden states, (batch, time, width).
        targets: int64 token ids, (batch, time).
        z_coeff: weight of mean(logsumexp(logits)^2).
        chunk: None makes all logits at once, and keeps them for the backward pass. A number makes
            those of so many tokens at a time and keeps none: gradients are computed on the way, in
            the same three matrix products (`chunked_loss`). "liger" leaves it to Liger's kernel,
            on a GPU (`liger_loss`).

    Raises:
        ValueError: `chunk` is neither a positive number nor "liger", or "liger" without a GPU.
        TypeError: the head's weight is sharded where a chunked loss would read it whole.
        ImportError: "liger" without `liger_kernel`.
    """
    if chunk is None:
        return _whole_loss(head(hidden), targets, z_coeff)
    if chunk != "liger" and (not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f'chunk must be None, "liger" or a number of at least 1, got {chunk!r}')
    if is_dtensor(head.weight):
        raise TypeError(
            "a chunked loss reads the head's weight whole, but it is sharded here. With FSDP shard "
            "the head together with the root module; with tensor parallelism use chunk=None"
        )
    rows = hidden.flatten(0, 1)
    if chunk == "liger":
        if not hidden.is_cuda:
            raise ValueError(f'chunk="liger" needs a GPU; the model is on {hidden.device}')
        loss, cross_entropy, z = liger_loss(rows, head.weight, targets.flatten(), z_coeff)
    else:
        loss, cross_entropy, lse = chunked_loss(
            rows, head.weight, targets.flatten(), z_coeff, chunk
        )
        z = lse.square()
    return _terms(loss, cross_entropy.expand(targets.numel()), z.expand(targets.numel()), targets)


def _whole_loss(logits: Tensor, targets: Tensor, z_coeff: float) -> LossTerms:
    """Return the losses from all logits, (batch, time, vocab_size)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
    cross_entropy = F.cross_entropy(logits, targets.flatten(), reduction="none")
    loss = cross_entropy.mean()
    with torch.set_grad_enabled(torch.is_grad_enabled() and z_coeff != 0.0):
        # logsumexp without another pass over the logits: it is what cross-entropy subtracts from.
        z = (cross_entropy + logits.gather(1, targets.flatten()[:, None])[:, 0]).square()
    if z_coeff != 0.0:
        loss = loss + z_coeff * z.mean()
    return _terms(loss, cross_entropy, z, targets)


def _terms(loss: Tensor, cross_entropy: Tensor, z: Tensor, targets: Tensor) -> LossTerms:
    """Average the tokens' values, (batch * time,), within each sequence."""
    by_sequence = (x.detach().view(targets.shape).mean(1).float() for x in (cross_entropy, z))
    return LossTerms(loss, *by_sequence)
