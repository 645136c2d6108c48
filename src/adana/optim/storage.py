"""The state tensors of a parameter: how they are made, and how they survive being loaded.

The update reads and writes tensors of at least 32 bits; nothing else in the package knows how they
are kept. Counters are integers: they never have the parameter's dtype.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana.dtensors import is_dtensor, local
from adana.names import plain_name

STEP = "step"
"""Name of the step counter in a parameter's state: int64, 0-d, on the CPU unless capturable."""


def working_dtype(p: Tensor) -> torch.dtype:
    """Return the dtype in which a parameter is updated: its own, but at least float32."""
    return torch.promote_types(p.dtype, torch.float32)


def count_of(step: Tensor) -> int:
    """Return the number that a counter holds; 1 for the fake ones that memory is planned with."""
    if type(step) is not Tensor:
        from torch._subclasses.fake_tensor import is_fake  # noqa: PLC0415 (with the compiler)

        if is_fake(step):
            return 1
    return int(step.item())


def steps_made(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> int:
    """Return how many steps a group has made, by the counters that its optimizer may keep."""
    counters = (optimizer.state.get(p, {}).get(STEP, 0) for p in group["params"])
    return max((count_of(x) if isinstance(x, Tensor) else int(x) for x in counters), default=0)


def kept_dtype(state: Mapping[str, Any]) -> torch.dtype | None:
    """Return the dtype of what is kept of a parameter, by the first tensor; None of nothing."""
    for name, x in state.items():
        if name != STEP:
            dtype: torch.dtype = x.dtype
            return dtype
    return None


def new_state(
    p: Tensor, parts: Mapping[str, torch.dtype], home: torch.device, *, capturable: bool
) -> dict[str, Tensor]:
    """Return a fresh state for `p`: the counter and a tensor of zeros for each part, of its dtype.

    The tensors are on the device `home` and have `p`'s shape, layout and sharding. Zeros stand for
    zero in every codec.
    """
    device = p.device if capturable else torch.device("cpu")
    state = {STEP: torch.zeros((), dtype=torch.int64, device=device)}
    for name, dtype in parts.items():
        state[name] = torch.zeros_like(
            p, dtype=dtype, device=home, memory_format=torch.preserve_format
        )
    return state


def restored(
    saved: Mapping[str, Any],
    current: dict[str, Any],
    p: Tensor,
    parts: Mapping[str, torch.dtype],
    home: torch.device,
    *,
    capturable: bool,
) -> dict[str, Any]:
    """Return `current` with every tensor a copy of the `saved` one in its dtype, on device `home`.

    `torch.optim.Optimizer.load_state_dict` casts all of a state to the parameter's dtype, which
    loses float32 moments and integer codes of bfloat16 parameters, and shares what it need not
    cast with the state dict, which a second load would then find changed. This undoes both. The
    state tensors in `parts` come in the dtype named there, so that a checkpoint of a float32 model
    goes on in float64 and back.
    """
    kept = dict(current)
    for name, value in saved.items():
        if not isinstance(value, Tensor):
            continue
        if name == STEP:
            device = p.device if capturable else torch.device("cpu")
            kept[name] = value.detach().to(device=device, dtype=torch.int64, copy=True)
        else:
            dtype = parts.get(name, value.dtype)
            kept[name] = _as_laid_out(value.detach().to(device=home, dtype=dtype, copy=True), p)
    return kept


def _as_laid_out(x: Tensor, p: Tensor) -> Tensor:
    """Return `x` with its elements in memory in the order that those of `p` have.

    A checkpoint may be of a model in another memory format, and kernels work on one order.
    """
    if type(x) is not Tensor or x.shape != p.shape or x.stride() == p.stride():
        return x
    like = torch.empty_like(p, dtype=x.dtype, device=x.device, requires_grad=False)
    return like.copy_(x)


def without_tensors(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict without the states' tensors, all of which torch would copy to devices."""
    rest = {
        i: {name: x for name, x in state.items() if not isinstance(x, Tensor)}
        for i, state in state_dict["state"].items()
    }
    return {**state_dict, "state": rest}


def in_order(
    saved: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the `saved` groups with their parameters in the order that `groups` have by name.

    Unchanged where either have no names, or not the same: then places decide, as in torch.

    Raises:
        ValueError: the names are the same, but groups hold others of them.
    """
    theirs, ours = _by_name(saved), _by_name(groups)
    if not ours or theirs.keys() != ours.keys() or len(saved) != len(groups):
        return [dict(group) for group in saved]
    for name, (i, _) in ours.items():
        if theirs[name][0] != i:
            raise ValueError(
                f"parameter {name} is in group {theirs[name][0]} of the state dict and in group "
                f"{i} of this optimizer: make its groups as they were when it was saved"
            )
    renewed = [dict(group) for group in saved]
    for i, group in enumerate(renewed):
        order = [theirs[name][1] for name, (where, _) in ours.items() if where == i]
        for key in ("params", "param_names"):
            group[key] = [saved[i][key][k] for k in order]
    return renewed


def _by_name(groups: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return the group and the place in it of every parameter by its plain name.

    Empty if some have no name, or two the same.
    """
    places = {
        plain_name(name): (i, k)
        for i, group in enumerate(groups)
        for k, name in enumerate(group.get("param_names", ()))
    }
    complete = len(places) == sum(len(group["params"]) for group in groups)
    return places if complete else {}


def local_like(x: Tensor, p: Tensor) -> Tensor:
    """Return this process's part of `x`, laid out as `p` is."""
    if is_dtensor(p) and is_dtensor(x) and x.placements != p.placements:
        x = x.redistribute(p.device_mesh, p.placements)
    return local(x)


def named(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str | int, Tensor]]:
    """Return the parameters of all groups by name, else by their index in the state dict."""
    params = [p for group in groups for p in group["params"]]
    names = [name for group in groups for name in group.get("param_names", group["params"])]
    return [
        (name if isinstance(name, str) else i, p)
        for i, (name, p) in enumerate(zip(names, params, strict=True))
    ]


def identities(groups: Sequence[Mapping[str, Any]]) -> dict[Tensor, int]:
    """Return a number for each parameter that no layout changes: of its name, else of its place.

    Names are those that the optimizer was given, without what wrappers put before them. No two
    parameters have the same number: of those that would, the later ones get others.
    """
    numbers: dict[Tensor, int] = {}
    taken: set[int] = set()
    for name, p in named(groups):
        number = zlib.crc32(plain_name(name).encode()) if isinstance(name, str) else name
        while number in taken:
            number += 1 << 32
        taken.add(number)
        numbers[p] = number
    return numbers
