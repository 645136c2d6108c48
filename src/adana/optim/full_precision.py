"""The float32 weights behind bfloat16 parameters, for checkpoints that others read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adana.dtensors import as_part_of, local
from adana.optim.base import LogTimeOptimizer
from adana.optim.codecs import WEIGHTS, widened
from adana.optim.coded import rounding
from adana.optim.refusals import wrapped


@torch.no_grad()
def float32_state_dict(model: nn.Module, optimizer: LogTimeOptimizer) -> dict[str, Any]:
    """Return `model.state_dict()` with every bfloat16 parameter in float32.

    With `bf16_weights` "split32" and "split24" that is what the optimizer trains: the parameter and
    the bits beside it. Else, and before a parameter's first step, it is the parameter's own value.
    Sharded parameters stay sharded, as DTensors; tied parameters stay tied. Where the missing bits
    are on the host (`adana.offload_states`), so are the float32 values of plain tensors.

    Args:
        model: the model whose parameters `optimizer` has.
        optimizer: any member of the family. What it does not train is rounded as the parameter is:
            of a `ZeroRedundancyOptimizer`, `optim` has the bits of those that this rank updates.

    Raises:
        TypeError: the optimizer is not of the family.
    """
    if not isinstance(optimizer, LogTimeOptimizer):
        raise TypeError(
            f"float32_state_dict takes an optimizer of adana, which has the bits beside bfloat16 "
            f"weights, not a {type(optimizer).__name__}{wrapped(optimizer)}"
        )
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    exact: dict[Tensor, Tensor] = {}
    found = model.state_dict()
    for name, p in model.named_parameters(remove_duplicate=False):
        if p.dtype != torch.bfloat16 or name not in found:
            continue
        if p not in exact:
            group = groups.get(p)
            state = optimizer.state.get(p, {})  # `state[p]` would make one
            exact[p] = p.float() if group is None else _exact(p, group, state)
        found[name] = exact[p]
    return found


def _exact(p: Tensor, group: Mapping[str, Any], state: Mapping[str, Tensor]) -> Tensor:
    """Return the float32 values of `p`, sharded as it is."""
    kind = rounding(group, p)
    weights = WEIGHTS[kind]
    if kind == "nearest" or any(name not in state for name in weights.parts()):
        return p.detach().float()
    parts = {name: local(state[name]) for name in weights.parts()}
    home = parts[min(parts)].device if parts else p.device  # offloaded states are on the host
    stored = {"p": local(p.detach()).to(home), **parts}
    value: Tensor = weights.decode({name: widened(x) for name, x in stored.items()})
    return as_part_of(p, value)
