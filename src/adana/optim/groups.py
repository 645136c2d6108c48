"""Which parameters weight decay applies to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.weight_norm import WeightNorm

from adana.names import is_matrix, plain_name
from adana.optim.matrices import HEADS, hidden_matrices, stacks_of_matrices

OWN_EMBEDDING = r"(?i)(^|[._])(\w*_)?embed(ding)?s?$"
"""Names of embedding tables that are parameters of a model's own, not of an `nn.Embedding`.

A guess, narrower than that of `adana.optax.decay_mask`, which has nothing but names.
"""


def param_groups(
    model: nn.Module,
    *,
    decay_embeddings: bool = False,
    no_decay: str | Sequence[str] = (),
    muon: bool = False,
    heads: str | None = HEADS,
    matrices: str | None = None,
    stacks: str | None = None,
    names: bool = False,
    frozen: bool = True,
) -> list[dict[str, Any]]:
    """Split a model's parameters into a decayed and an undecayed group.

    Decayed are the matrices (two or more dimensions), the output head included. Undecayed are
    embedding tables (of `nn.Embedding`, and parameters whose own name says so, as `pos_embed`),
    norm gains, the magnitudes of `torch.nn.utils.weight_norm`, biases and every other vector or
    scalar (spec/optimizers.md section 0), also one with two or more empty dimensions like a class
    token (1, 1, width); and what the model itself says is not to be: parameters with an attribute
    `_no_weight_decay`, and those that a module's `no_weight_decay()` names, as Mamba and timm have
    them (not the Mamba of transformers: no_decay="A_log"). A head tied to the embedding counts as
    the embedding.

    Args:
        model: any module.
        decay_embeddings: decay embedding tables too. Default False, as in the published runs.
        no_decay: a regular expression or several; a parameter in whose name one is found is not
            decayed.
        muon: make the groups of `LogMuon` and of hybrids like it: the decayed matrices of hidden
            layers in a group of their own with `muon: True`, the others with `muon: False`. What is
            in doubt is not orthogonalised, and a warning names it.
        heads: a regular expression; with `muon`, a decayed matrix in whose name it is found is an
            output head, which is not orthogonalised. Default: the usual names of a last layer; if
            the model has none of them, the last matrix is taken for the head, with a warning. None:
            the model has no head.
        matrices: a regular expression; with `muon`, the hidden matrices are the decayed matrices in
            whose name it is found, heads and embedding tables excepted. Default None: the weights
            of linear, convolutional, recurrent and attention modules; other parameters of two or
            more dimensions (experts kept as one tensor) are not, with a warning.
        stacks: a regular expression; with `muon`, decayed parameters of three or more dimensions in
            whose name it is found are stacks of hidden matrices, one for each index of the first
            dimension (experts kept as one tensor). Each matrix is orthogonalised by itself.
        names: give every parameter with its name, as torch's optimizers take them. Telemetry and
            state dicts then tell the names, and random bits for rounding go by them instead of the
            order. A group holds pairs, which optimizers of other libraries may not take.
        frozen: take parameters along that require no gradients: they are left as they are until
            they get one, as those of a layer do that is unfrozen later. False leaves them out, as
            checkpoints of an optimizer that was built without them need it.

    Returns:
        Two groups, decayed first (with `muon`, before them matrices and stacks of matrices); empty
        ones are left out. The last carries `omega: 0` for the optimizers of this package and
        `weight_decay: 0` for those of `torch.optim`.

    Raises:
        TypeError: `model` is no module.
        ValueError: the model has no trainable parameters, or has flattened ones (the old FSDP), or
            a pattern (`no_decay`; with `muon`, `matrices`, `stacks` and `heads`) matches none (a
            typing error would otherwise decay what it was meant to spare).

    Warns:
        UserWarning: with `muon`, which parameters were guessed to be no hidden matrices.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"param_groups takes a model, got {type(model).__name__}: what decays is told by names "
            "and modules, which parameters alone do not have"
        )
    no_decay = (no_decay,) if isinstance(no_decay, str) else no_decay
    named = [(plain_name(name), p) for name, p in model.named_parameters()]
    if not any(p.requires_grad for _, p in named):
        raise ValueError("the model has no trainable parameters")
    if not frozen:
        named = [(name, p) for name, p in named if p.requires_grad]
    patterns = [("no_decay", pattern) for pattern in no_decay]
    if muon:
        own_heads = None if heads == HEADS else heads
        given = {"heads": own_heads, "matrices": matrices, "stacks": stacks}
        patterns += [(name, pattern) for name, pattern in given.items() if pattern is not None]
    for argument, pattern in patterns:
        if not any(re.search(pattern, name) for name, _ in named):
            raise ValueError(f"{argument} pattern {pattern!r} matches no parameter of the model")
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
    tables |= {id(p) for name, p in named if re.search(OWN_EMBEDDING, name)}
    embeddings = set() if decay_embeddings else tables
    spared = {id(p) for name, p in named if any(re.search(x, name) for x in no_decay)}
    spared |= _spared_by_the_model(model) | _magnitudes(model)
    decays = {id(p) for _, p in named if is_matrix(p.shape)} - embeddings - spared
    hidden: set[int] = set()
    stacked: set[int] = set()
    if muon:
        candidates = [(name, p) for name, p in named if id(p) in decays - tables]
        stacked = stacks_of_matrices(candidates, stacks)
        rest = [(name, p) for name, p in candidates if id(p) not in stacked]
        hidden = hidden_matrices(model, rest, heads=heads, matrices=matrices, stacklevel=2)
    flag: dict[str, Any] = {"muon": False} if muon else {}

    def members(wanted: Callable[[int], bool]) -> list[Any]:
        return [(name, p) if names else p for name, p in named if wanted(id(p))]

    groups: list[dict[str, Any]] = [
        {"params": members(lambda i: i in hidden), "muon": True},
        {"params": members(lambda i: i in stacked), "muon": True, "stack_dims": 1},
        {"params": members(lambda i: i in decays - hidden - stacked), **flag},
        {
            "params": members(lambda i: i not in decays),
            "omega": 0.0,
            "weight_decay": 0.0,
            **flag,
        },
    ]
    return [group for group in groups if group["params"]]


def _spared_by_the_model(model: nn.Module) -> set[int]:
    """Return the ids of the parameters that the model says are not to decay."""
    spared = {id(p) for p in model.parameters() if getattr(p, "_no_weight_decay", False)}
    for module in model.modules():
        names = getattr(module, "no_weight_decay", None)
        if callable(names):
            own = dict(module.named_parameters(remove_duplicate=False))
            spared |= {id(own[name]) for name in names() if name in own}
    return spared


def _magnitudes(model: nn.Module) -> set[int]:
    """Return the ids of the gains that `torch.nn.utils.weight_norm`, old and new, takes apart."""
    found = set()
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        hooks = module._forward_pre_hooks.values()
        found |= {id(own[f"{h.name}_g"]) for h in hooks if isinstance(h, WeightNorm)}
        if isinstance(module, ParametrizationList) and type(module[0]).__name__ == "_WeightNorm":
            found.add(id(own["original0"]))
    return found
