"""Liger's kernel in Triton's interpreter: `test_loss.py` runs this in a process of its own.

Triton decides when it is imported whether it interprets. By hand:
TRITON_INTERPRET=1 python -m pytest tests/nn/liger_in_interpreter.py
"""

import os

import pytest
import torch

from adana.nn.chunked import chunked_loss
from adana.nn.liger import liger_loss

assert os.environ.get("TRITON_INTERPRET") == "1", "set TRITON_INTERPRET=1"
TOKENS, WIDTH, VOCABULARY = 64, 32, 300


def problem():
    noise = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=noise).requires_grad_()
    weight = (0.3 * torch.randn(VOCABULARY, WIDTH, generator=noise)).requires_grad_()
    return hidden, weight, torch.randint(VOCABULARY, (TOKENS,), generator=noise)


def found(loss_function, *further, amp):
    """Return the loss, its cross-entropy and z, and the gradients of three times the loss."""
    hidden, weight, targets = problem()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss, cross_entropy, z = loss_function(hidden, weight, targets, *further)
    (3 * loss).backward()
    return loss, cross_entropy.mean(), z, hidden.grad, weight.grad


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("z_coeff", [0.0, 1e-2])
def test_ligers_kernel_gives_our_loss_and_gradients(z_coeff, amp):
    loss, cross_entropy, z, *gradients = found(liger_loss, z_coeff, amp=amp)
    ours, our_cross_entropy, lse, *our_gradients = found(chunked_loss, z_coeff, 16, amp=amp)
    torch.testing.assert_close((loss, cross_entropy), (ours, our_cross_entropy))
    if z_coeff:
        torch.testing.assert_close(z, lse.square().mean(), rtol=1e-4, atol=0.0)
    else:
        assert z.isnan()
    for gradient, our_gradient in zip(gradients, our_gradients, strict=True):
        assert gradient.dtype == torch.float32
        off = (gradient - our_gradient).abs().max() / our_gradient.abs().max()
        assert off < (0.02 if amp else 1e-5)  # 0.02: 5 roundings to bfloat16


def test_ligers_kernel_does_without_gradients():
    with torch.no_grad():
        loss, cross_entropy, z = liger_loss(*problem(), 1e-2)
    assert loss.item() == pytest.approx(cross_entropy.item() + 1e-2 * z.item())
