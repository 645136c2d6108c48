"""Text from a model, token by token. Works for any model that maps tokens to logits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


@torch.no_grad()
def generate(
    model: nn.Module,
    tokens: Tensor,
    n: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    vocab_size: int | None = None,
    stop: int | None = None,
) -> Iterator[Tensor]:
    """Yield up to `n` tokens that follow `tokens`, each int64 of shape (batch,), as they are drawn.

    The model sees the last `model.config.sequence_length` tokens and computes each step anew: there
    is no cache of keys and values.

    Args:
        model: in eval mode; `model(tokens)` gives logits (batch, time, vocabulary).
        tokens: int64 of shape (batch, time), at least one a row.
        n: how many tokens at most.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw among the k likeliest only.
        top_p: draw among the likeliest that together have this probability, at least one.
        generator: makes the draws repeatable; on the model's device.
        vocab_size: tokens of the tokenizer. Ids from there on, which only pad the model's
            vocabulary, are never drawn. Default: all of the model's.
        stop: end after this token was drawn in every row.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(tokens, n, temperature, top_k, top_p)
    context = int(model.config.sequence_length)  # type: ignore[union-attr, arg-type]
    stopped = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(n):
        logits = model(tokens[:, -context:])[:, -1].float()[:, :vocab_size]
        token = pick(logits, temperature, top_k, top_p, generator)
        yield token
        stopped |= token == stop if stop is not None else False
        if stopped.all():
            return
        tokens = torch.cat([tokens, token[:, None]], dim=1)[:, -context:]


def pick(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return one token a row for logits (batch, vocabulary), as `generate` says: int64 (batch,)."""
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(-1)
        beyond = probability.cumsum(-1) - probability >= top_p  # the first is never beyond
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _check(
    tokens: Tensor, n: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    if tokens.ndim != 2 or tokens.shape[1] < 1:
        raise ValueError(f"tokens must be (batch, time) with time >= 1, got {tuple(tokens.shape)}")
    if n < 0:
        raise ValueError(f"tokens to generate must be at least 0, got {n}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number, 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
