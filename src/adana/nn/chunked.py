"""The head's loss without the logits' memory.

Logits are the largest tensor of a small model's step: 4096 tokens of a vocabulary of 50304 take
0.8 GB, and autograd keeps them, their softmax and its gradient. But the gradient of the loss by the
logits is known as soon as they are: (softmax - onehot + 2 z_coeff lse softmax) / n. So each chunk
of tokens goes through the head once, gives its losses, its gradients by hidden states and its
share of the gradient by the weight, and is forgotten. The backward pass multiplies by a number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def chunked_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, z_coeff: float, chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (mean of cross-entropy + z_coeff lse^2, each token's cross-entropy, its lse).

    `hidden` is (n, width), `weight` (vocab_size, width), `targets` int64 (n,); logits exist for
    `chunk` tokens at a time. Only the first result can be differentiated. Matrix products run in
    the autocast dtype where autocast is on; everything between them, and the sum of the weight's
    gradient over chunks, in float32 (float64 for float64). Without grad, only the losses are
    computed. Gradients are computed with the losses, so they are kept from then on: as many numbers
    as `hidden` and `weight` have.
    """
    kind = hidden.device.type
    dtype = hidden.dtype
    if torch.is_autocast_enabled(kind) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
    grad = torch.is_grad_enabled()
    wanted = (grad and hidden.requires_grad, grad and weight.requires_grad)
    with torch.autocast(kind, enabled=False):
        return _ChunkedLoss.apply(hidden, weight, targets, _Plan(z_coeff, chunk, dtype, wanted))


class _Plan(NamedTuple):
    """What a walk over the chunks needs beside tensors."""

    z_coeff: float
    chunk: int
    dtype: torch.dtype
    """Of the matrix products."""
    wanted: tuple[bool, bool]
    """Whether the gradients by the hidden states and by the weight are."""


class _ChunkedLoss(torch.autograd.Function):
    """Losses and gradients in one walk over the chunks."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, plan: _Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        z_coeff, chunk, dtype, wanted = plan
        n, wide = len(targets), torch.promote_types(dtype, torch.float32)
        cross_entropy, lse = (hidden.new_empty(n, dtype=wide) for _ in range(2))
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if wanted[1] else None
        matrix = weight.to(dtype)
        for start in range(0, n, chunk):
            rows = slice(start, start + chunk)
            inputs, at = hidden[rows].to(dtype), targets[rows, None]
            logits = (inputs @ matrix.T).to(wide)
            lse[rows] = logits.logsumexp(-1)
            cross_entropy[rows] = lse[rows] - logits.gather(1, at)[:, 0]
            if not any(wanted):
                continue
            scale = (1 + 2 * z_coeff * lse[rows]) / n
            by_logits = _softmax_(logits, lse[rows]).mul_(scale[:, None])
            by_logits.scatter_add_(1, at, by_logits.new_full(at.shape, -1 / n))
            by_logits = by_logits.to(dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = by_logits @ matrix
            if grad_weight is not None:
                _add_product_(grad_weight, by_logits.T, inputs)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        ctx.mark_non_differentiable(cross_entropy, lse)
        return (cross_entropy + z_coeff * lse.square()).mean(), cross_entropy, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * grad).to(ctx.weight_dtype)
        return (grad_hidden, grad_weight, None, None)


def _softmax_(logits: Tensor, lse: Tensor) -> Tensor:
    """Turn logits into their softmax, in place."""
    return logits.sub_(lse[:, None]).exp_()


def _add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a matrix product to `total`, whose dtype may be wider than the factors'."""
    if total.dtype == left.dtype:
        torch.addmm(total, left, right, out=total)
    else:
        total.add_(left @ right)
