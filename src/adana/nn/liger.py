"""Liger's fused head and loss, for those who have it: `pip install liger-kernel`, on a GPU."""

from __future__ import annotations

import math

from torch import Tensor


def liger_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, z_coeff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss, cross-entropy, z) as scalars, means over all tokens; the first has gradients.

    Shapes as for `chunked_loss`. Liger reports means only, so sequences cannot be told apart, and
    its z-loss only where there is one: z is NaN for z_coeff 0. Tested against liger-kernel 0.8.5 in
    Triton's interpreter; on a GPU it was not run yet.

    Raises:
        ImportError: `liger_kernel` is not installed.
    """
    try:
        from liger_kernel.transformers import (  # noqa: PLC0415
            LigerFusedLinearCrossEntropyLoss,
        )
    except ImportError as error:
        raise ImportError(
            f'chunk="liger" needs the package liger-kernel and Triton ({error}). '
            "pip install liger-kernel, or give a number of tokens as chunk"
        ) from error
    if z_coeff == 0.0:
        loss = LigerFusedLinearCrossEntropyLoss()(weight, hidden, targets)
        return loss, loss.detach(), loss.detach().new_tensor(math.nan)
    fused = LigerFusedLinearCrossEntropyLoss(lse_square_scale=z_coeff, return_z_loss=True)
    result = fused(weight, hidden, targets)  # a tuple, or an object with these names: by version
    loss, z_loss = result[:2] if isinstance(result, tuple) else (result.loss, result.z_loss)
    z_loss = z_loss.detach()
    return loss, loss.detach() - z_loss, z_loss / z_coeff
