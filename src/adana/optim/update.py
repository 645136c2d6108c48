"""The update of the whole family, written twice: once to be read, once to be fast.

Everything that depends on time is a number in `Hyper`; the update itself never looks at the step.
A member of the family is therefore a function `t -> Hyper` and nothing else. `update_single` is the
specification; `update_foreach` performs the same operations in the same order on lists of tensors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Hyper(NamedTuple):
    """The numbers of one update, computed in Python's float64 for one group at one step."""

    ema_m: float
    """Weight of the newest gradient in the first moment m, `1 - beta1(t)`."""
    ema_v: float
    """Weight of the newest squared gradient in the second moment v, `1 - beta2(t)`."""
    grad: float
    """Multiplier on the gradient g in the numerator."""
    momentum: float
    """Multiplier on m in the numerator."""
    root: float
    """Multiplier on sqrt(v) in the denominator (a bias correction; 1 where none is needed)."""
    eps: float
    """Added to the denominator, outside the square root."""
    lr: float
    """Learning rate of this step, `eta * gamma(t)`."""
    decay: float
    """Fraction of the weight removed in this step, `gamma(t) * lambda(t)`."""


def update_single(
    p: Tensor, g: Tensor, m: Tensor, v: Tensor, h: Hyper, *, decay_after: bool
) -> None:
    """Update one parameter and its moments in place.

    m <- m + ema_m (g - m);  v <- v + ema_v (g^2 - v)
    u  = (grad * g + momentum * m) / (root * sqrt(v) + eps)
    p <- p - decay * p - lr * u           decay_after=False: both terms use the old p
    p <- (p - lr * u) * (1 - decay)       decay_after=True

    All tensors have one shape and one floating dtype of at least 32 bits. The averages and the
    decay are subtractions of a small part, never products with `1 - small`, which rounds too
    coarsely in float32 late in training (spec/optimizers.md section 12).
    """
    m.lerp_(g, h.ema_m)
    v.sub_(v, alpha=h.ema_v).addcmul_(g, g, value=h.ema_v)
    denominator = v.sqrt()
    if h.root != 1.0:
        denominator.mul_(h.root)
    denominator.add_(h.eps)
    if h.decay != 0.0 and not decay_after:
        p.sub_(p, alpha=h.decay)
    if h.grad != 0.0:
        p.addcdiv_(g, denominator, value=-h.lr * h.grad)
    p.addcdiv_(m, denominator, value=-h.lr * h.momentum)
    if h.decay != 0.0 and decay_after:
        p.sub_(p, alpha=h.decay)


def update_foreach(
    p: list[Tensor],
    g: list[Tensor],
    m: list[Tensor],
    v: list[Tensor],
    h: Hyper,
    *,
    decay_after: bool,
) -> None:
    """Do the same as `update_single` for lists of tensors on one device; one temporary list."""
    torch._foreach_lerp_(m, g, h.ema_m)
    torch._foreach_sub_(v, v, alpha=h.ema_v)
    torch._foreach_addcmul_(v, g, g, value=h.ema_v)
    denominator = torch._foreach_sqrt(v)
    if h.root != 1.0:
        torch._foreach_mul_(denominator, h.root)
    torch._foreach_add_(denominator, h.eps)
    if h.decay != 0.0 and not decay_after:
        torch._foreach_sub_(p, p, alpha=h.decay)
    if h.grad != 0.0:
        torch._foreach_addcdiv_(p, g, denominator, value=-h.lr * h.grad)
    torch._foreach_addcdiv_(p, m, denominator, value=-h.lr * h.momentum)
    if h.decay != 0.0 and decay_after:
        torch._foreach_sub_(p, p, alpha=h.decay)
