"""From one code of the states to another, in the middle of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from adana.optim.base import LogTimeOptimizer
from adana.optim.coded import (
    Bf16Weights,
    StateDtype,
    match_parts,
    rounding,
    sections_of,
    stored_here,
)
from adana.optim.keys import Streams
from adana.optim.placement import global_index, placement
from adana.optim.randomness import Keys, words
from adana.optim.refusals import refuse_to_convert, wrapped
from adana.optim.storage import STEP, new_state


@torch.no_grad()
def convert_states(
    optimizer: LogTimeOptimizer,
    *,
    state_dtype: StateDtype | None = None,
    bf16_weights: Bf16Weights | None = None,
    groups: Iterable[int] | None = None,
) -> None:
    """Keep states, and what is beside bfloat16 weights, in another code from now on.

    For a checkpoint in float32 that goes on in fewer bytes or the other way round, and for state
    dicts that others are to read: load, then convert. Parameters without a state yet start in the
    new code. Values are rounded at random, as steps round them, with bits that no step uses, so
    converting is the same on any number of ranks and changes no mean. To "fp32" and "split32"
    nothing is rounded. The parameters change only where `bf16_weights` says something new: from
    "split32" to "nearest" drops the bits beside them.

    Old and new states are in memory together until all are converted. A CUDA graph captured before
    goes on with the old ones: capture again.

    Args:
        optimizer: any member of the family.
        state_dtype: the new code of the states; None leaves each group's.
        bf16_weights: the new rounding of bfloat16 weights; None leaves each group's.
        groups: indices of the groups to convert; None for all, and for groups added later.

    Raises:
        TypeError: the optimizer is not of the family.
        IndexError: there is no such group.
        ValueError: no code is given, or one is unknown, or not for this optimizer or dtype (`log16`
            with averages of unequal weights, codes for float64), or a state was cast by hand.
            Nothing has changed then.
        RuntimeError: the states are on the host (`adana.offload_states`).

    Example:
        >>> import torch, adana
        >>> layer = torch.nn.Linear(4, 2)
        >>> optimizer = adana.ADana(layer.parameters(), lr=1e-3, omega=0)
        >>> layer(torch.ones(1, 4)).sum().backward()
        >>> optimizer.step()
        >>> adana.convert_states(optimizer, state_dtype="log16")
        >>> optimizer.state[layer.weight]["m"].dtype
        torch.int16
    """
    _refuse(optimizer)
    given = {"state_dtype": state_dtype, "bf16_weights": bf16_weights}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise ValueError("say what to convert to: give state_dtype, bf16_weights or both")
    everything = optimizer.param_groups
    chosen = everything if groups is None else [everything[i] for i in groups]
    renewed = [{**group, **changes} for group in chosen]
    for new in renewed:
        optimizer.check_group(new)
        for p in new["params"]:
            optimizer.check_codes(new, p)
    streams = Streams().of(everything)
    converted: list[tuple[Tensor, Tensor, dict[str, Any]]] = []
    for old, new in zip(chosen, renewed, strict=True):
        for p in _changing(optimizer, old, new):
            # Steps are numbered from 1: none has the bits of a negative one.
            keys = streams.keys(new, [p], -int(optimizer.state[p][STEP]), as_tensors=False)[0]
            converted.append((p, *_converted(optimizer, p, old, new, keys)))
    for p, weights, state in converted:
        if weights is not p:
            p.copy_(weights)
        optimizer.state[p] = state
    optimizer.forget_tensors()
    for group in [*chosen, *([optimizer.defaults] if groups is None else [])]:
        group.update(changes)


def _refuse(optimizer: Any) -> None:
    """Raise where states cannot be converted."""
    if not isinstance(optimizer, LogTimeOptimizer):
        raise TypeError(
            f"states can be converted for the optimizers of adana, not for "
            f"{type(optimizer).__name__}{wrapped(optimizer)}"
        )
    if optimizer.host is not None:
        raise RuntimeError(
            "the states are on the host, where they are not converted: convert them before "
            "adana.offload_states, or after remove() of what it returned"
        )


def _changing(
    optimizer: LogTimeOptimizer, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Tensor]:
    """Yield the parameters of a group that have a state which is kept otherwise in the new one."""
    for p in old["params"]:
        codes = old["state_dtype"] != new["state_dtype"]
        if optimizer.state.get(p) and (codes or rounding(old, p) != rounding(new, p)):
            yield p


def _converted(
    optimizer: LogTimeOptimizer,
    p: Tensor,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    keys: Keys,
) -> tuple[Tensor, dict[str, Any]]:
    """Return the weights, `p` itself if they stay, and the state of `p` as the new group has it.

    Floats are float32 on the way: codes have no more.
    """
    state, home = optimizer.state[p], optimizer.home(p)
    match_parts(state, old, p, home)
    stored, parts = (_in_float32(optimizer.stored(group, p)) for group in (old, new))
    refuse_to_convert(state, stored)
    codes = {name: state[name].to(dtype) for name, dtype in stored.items()}
    fresh = new_state(p, parts, home, capturable=new["capturable"])
    weights = p.detach().clone()
    before = stored_here(old, p, codes, stored)
    after = stored_here(new, weights, fresh, parts)
    where = placement(p)
    for section in sections_of(where, p, (*before.tensors(), *after.tensors())):
        wide_p, wide = before.part(section).wide()
        random = words(global_index(section.placement, wide_p), keys[section.key])
        after.part(section).store(wide_p, wide, random, None)
    others = {name: x for name, x in state.items() if name not in stored}  # the counter, and theirs
    as_kept = {name: fresh[name].to(dtype) for name, dtype in optimizer.stored(new, p).items()}
    return (p if rounding(old, p) == rounding(new, p) else weights), {**others, **as_kept}


def _in_float32(parts: Mapping[str, torch.dtype]) -> dict[str, torch.dtype]:
    wide = torch.float64
    return {name: torch.float32 if dtype == wide else dtype for name, dtype in parts.items()}
