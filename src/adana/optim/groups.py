"""Which parameters weight decay applies to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from adana.names import HEAD_NAMES

WRAPPERS = r"(^|\.)(module|_orig_mod|_checkpoint_wrapped_module)(?=\.)"
"""What DDP, torch.compile and activation checkpointing add to names."""
HEADS = rf"^(\w+\.)?({HEAD_NAMES})\.weight$"
"""Default of `heads`: names that libraries give the layer from width to vocabulary or classes."""


def param_groups(
    model: nn.Module,
    *,
    decay_embeddings: bool = False,
    no_decay: str | Sequence[str] = (),
    muon: bool = False,
    heads: str = HEADS,
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into a decayed and an undecayed group.

    Decayed are the matrices (two or more dimensions), the output head included. Undecayed are
    embedding tables, norm gains, biases and every other vector or scalar
    (spec/optimizers.md section 0). A head tied to the embedding counts as the embedding.

    Args:
        model: any module. Parameters that do not require gradients are left out.
        decay_embeddings: decay `nn.Embedding` tables too. Default False, as in the published runs.
        no_decay: a regular expression or several; a parameter in whose name one is found is not
            decayed.
        muon: make the groups of `LogMuon` and of hybrids like it: the decayed matrices of hidden
            layers in a group of their own with `muon: True`, the others with `muon: False`.
        heads: a regular expression; with `muon`, a decayed matrix in whose name it is found is an
            output head, which is not orthogonalised. Default: the usual names of a last layer.

    Returns:
        Two groups, decayed first (three with `muon`, matrices first); empty ones are left out. The
        last carries `omega: 0` for the optimizers of this package and `weight_decay: 0` for those
        of `torch.optim`.

    Raises:
        ValueError: the model has no trainable parameters, or has flattened ones (the old FSDP), or
            a pattern of `no_decay` matches none (a typing error would otherwise decay what it was
            meant to spare).
    """
    no_decay = (no_decay,) if isinstance(no_decay, str) else no_decay
    named = [
        (re.sub(WRAPPERS, "", name).lstrip("."), p)
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    if not named:
        raise ValueError("the model has no trainable parameters")
    for pattern in no_decay:
        if not any(re.search(pattern, name) for name, _ in named):
            raise ValueError(f"no_decay pattern {pattern!r} matches no parameter of the model")
    if muon and heads != HEADS and not any(re.search(heads, name) for name, _ in named):
        raise ValueError(f"heads pattern {heads!r} matches no parameter of the model")
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ValueError(
            "the model is wrapped in FullyShardedDataParallel, which flattens parameters, so that "
            "matrices cannot be told from vectors; shard with torch.distributed.fsdp.fully_shard"
        )
    tables = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
    }
    embeddings = set() if decay_embeddings else tables
    matrices: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, p in named:
        spared = any(re.search(pattern, name) for pattern in no_decay)
        if p.ndim < 2 or id(p) in embeddings or spared:
            undecayed.append(p)
        elif muon and not re.search(heads, name) and id(p) not in tables:
            matrices.append(p)
        else:
            decayed.append(p)
    flag: dict[str, Any] = {"muon": False} if muon else {}
    groups: list[dict[str, Any]] = [
        {"params": matrices, "muon": True},
        {"params": decayed, **flag},
        {"params": undecayed, "omega": 0.0, "weight_decay": 0.0, **flag},
    ]
    return [group for group in groups if group["params"]]
