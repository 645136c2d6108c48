"""What the models cannot do, refused where transformers would let it pass unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

GENERATE_FROM_EQUAL_LENGTHS = (
    "Generate from prompts of equal length or one at a time: the model has no mask for padding."
)
NOT_RETURNED = ("output_attentions", "output_hidden_states")
"""What callers may ask to be returned too, and the models do not keep."""
WITHOUT_EFFECT = frozenset({"num_items_in_batch", "use_cache"})
"""Arguments of `forward` that are for the loss, or change the speed of others only."""
INSTEAD = {
    "past_key_values": "there is no cache of keys and values; pass the whole context as input_ids",
    "inputs_embeds": "pass the tokens themselves as input_ids",
    **dict.fromkeys(NOT_RETURNED, "only logits and the loss are returned; leave it out"),
}
"""Arguments that are refused unless they are None or False, and what to do."""


def check_arguments(input_ids: Any, attention_mask: Any, others: Mapping[str, Any]) -> None:
    """Raise where an argument of `forward` would change the result elsewhere and is ignored here.

    Raises:
        TypeError: there are no tokens, or the argument is none of a language model's.
        ValueError: the argument asks for what the models have not.
    """
    for name, value in others.items():
        if name in INSTEAD:
            if value is not None and value is not False:
                raise ValueError(f"adana's models have no {name}: {INSTEAD[name]}")
        elif name not in WITHOUT_EFFECT | {"position_ids", "cache_position", "token_type_ids"}:
            raise TypeError(
                f"adana's models have no argument {name!r}; they take input_ids, attention_mask, "
                "labels and return_dict"
            )
    if input_ids is None:
        raise TypeError("adana's models need input_ids, the tokens of shape (batch, time)")
    check_padding(attention_mask)
    for name in ("position_ids", "cache_position"):
        _check_positions(name, others.get(name), input_ids, attention_mask)
    kinds = others.get("token_type_ids")
    if kinds is not None and bool(kinds.any()):
        raise ValueError("adana's models know one kind of token: token_type_ids must be 0")


def check_padding(mask: Tensor | None) -> None:
    """Raise `ValueError` where a token would see padding before it, or other than all before it."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            "attention_mask must say of each token whether it is one, 1 or 0, in the shape (batch, "
            f"time); got {shape}. What a token sees cannot be changed: it is all tokens before it."
        )
    if mask.shape[1] > 1 and bool((mask[:, 1:] > mask[:, :-1]).any()):
        raise ValueError(
            "there is padding before or between the tokens, which this model would read as text. "
            f"Pad on the right (tokenizer.padding_side = 'right') to score texts. "
            f"{GENERATE_FROM_EQUAL_LENGTHS}"
        )


def _check_positions(
    name: str, positions: Tensor | None, input_ids: Tensor, mask: Tensor | None
) -> None:
    """Raise `ValueError` unless the tokens, padding aside, are counted from 0."""
    if positions is None:
        return
    usual = torch.arange(input_ids.shape[1], device=positions.device)
    other = positions.shape[-1:] != usual.shape or positions != usual
    if isinstance(other, Tensor) and mask is not None:
        other = other & mask.bool().to(other.device)
    if bool(torch.as_tensor(other).any()):
        raise ValueError(
            f"{name} must count the tokens of each row from 0, the positions that adana's models "
            "give them: leave it out, and give each text a row of its own"
        )
