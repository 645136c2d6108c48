"""Going on from AdamW: its averages, re-read as log-time averages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from adana import schedules
from adana.checks import check_integer
from adana.names import plain_name
from adana.optim.base import LogTimeOptimizer
from adana.optim.coded import is_coded
from adana.optim.refusals import wrapped
from adana.optim.storage import STEP, new_state, working_dtype


@torch.no_grad()
def load_adamw_state(
    optimizer: LogTimeOptimizer,
    state_dict: Mapping[str, Any],
    *,
    step: int | None = None,
    parameters: Iterable[Tensor] | None = None,
) -> None:
    """Start a log-time optimizer from the state dict of `torch.optim.AdamW` (or Adam).

    The moments are taken over, bias-corrected. The step each parameter goes on from is the one at
    which a log-time average has the memory of AdamW's beta2, `t0 = delta * beta2 / (1 - beta2)`
    (152 for 0.95, 7992 for 0.999), so that averages neither jump nor forget; never more than the
    steps AdamW made. Log-time decay goes on from that step too, however late the run is: pass
    `step` to keep its place. m is cut off at sqrt(v), which log-time averages never exceed.
    Hyperparameters stay those of `optimizer`.

    A state dict knows parameters by their place. Where it and `optimizer` both have names
    (`AdamW(model.named_parameters())`, `adana.param_groups(model, names=True)`), parameters are
    found by them; else both must have them in one order, or `parameters` has to say AdamW's.
    `adana.param_groups` has another order than `model.parameters()`: matrices first.

    Args:
        optimizer: over the same parameters; a member with m and v and no further state (`ADana`,
            `DanaMK4`).
        state_dict: what `torch.optim.AdamW.state_dict()` returned.
        step: go on from this step instead of t0, for instance to keep the place in log-time decay.
        parameters: the optimizer's parameters in the order that AdamW was given them:
            `model.parameters()`, or those of its groups one after another.

    Raises:
        TypeError: `optimizer` is of another library.
        ValueError: the state dict is not AdamW's, or does not fit the optimizer's parameters;
            nothing is changed then.
    """
    if not isinstance(optimizer, LogTimeOptimizer):
        raise TypeError(
            f"AdamW's state can be taken over by the optimizers of adana, not by "
            f"{type(optimizer).__name__}{wrapped(optimizer)}"
        )
    if step is not None:
        check_integer("step", step, low=1)
    betas = _betas_by_id(state_dict)
    given = None if parameters is None else list(parameters)
    owners = _in_order(optimizer, state_dict, betas, given)
    new = {}
    for (i, pair), (p, group) in zip(betas.items(), owners, strict=True):
        saved = state_dict["state"].get(i)
        if saved is None:  # a parameter that never had a gradient
            continue
        _check(saved, p, group, optimizer, i)
        made = int(saved["step"])
        if made == 0:  # averages of nothing
            continue
        t0 = max(1, round(schedules.matching_step(pair[1], group.get("delta", schedules.DELTA))))
        first = min(t0, made) if step is None else step
        new[p] = _converted(saved, p, group, pair, first, home=optimizer.home(p))
    optimizer.state.update(new)


def _in_order(
    optimizer: LogTimeOptimizer,
    state_dict: Mapping[str, Any],
    betas: Mapping[int, Any],
    parameters: list[Tensor] | None,
) -> list[tuple[Tensor, dict[str, Any]]]:
    """Return the optimizer's parameters, each with its group, in the order of the state dict.

    Those that require no gradients may be missing there.
    """
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    theirs, ours = _names(state_dict["param_groups"]), _names(optimizer.param_groups)
    if parameters is not None:
        if strange := len(set(parameters) - set(groups)):
            raise ValueError(
                f"`parameters` has {strange} that the optimizer does not have; it must hold the "
                "optimizer's, in AdamW's order"
            )
    elif theirs and ours:
        found = dict(zip(ours, groups, strict=True))
        if unknown := [name for name in theirs if name not in found]:
            raise ValueError(
                f"the optimizer has no parameter {unknown[0]!r}, which the state dict has; both "
                "must be built over the same model"
            )
        parameters = [found[name] for name in theirs]
    elif len(betas) == len(groups):
        parameters = list(groups)
    else:  # AdamW's was built over what is trained, perhaps
        parameters = [p for p in groups if p.requires_grad]
    if len(parameters) != len(betas):
        raise ValueError(
            f"the state dict has {len(betas)} parameters, not {len(parameters)}; both must be "
            "built over the same parameters"
        )
    named = set(parameters)
    lacking = [tuple(p.shape) for p in groups if p.requires_grad and p not in named]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of the optimizer's {len(groups)} parameters have no place in the "
            f"state dict, the first of shape {lacking[0]}; both must be built over the same ones"
        )
    return [(p, groups[p]) for p in parameters]


def _names(groups: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the plain names of all parameters, none if there are some without."""
    names: list[str] = []
    for group in groups:
        if "param_names" not in group:
            return []
        names += map(plain_name, group["param_names"])
    return names


def _betas_by_id(state_dict: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    try:
        return {
            i: (float(group["betas"][0]), float(group["betas"][1]))  # torch takes tensors too
            for group in state_dict["param_groups"]
            for i in group["params"]
        }
    except KeyError as error:
        raise ValueError(
            f"this is not a state dict of torch.optim.AdamW: {error} is missing"
        ) from error
    except TypeError as error:
        raise ValueError(
            f"this is no state dict but of type {type(state_dict).__name__}: pass what "
            "adamw.state_dict() returns"
        ) from error


def _check(
    saved: Mapping[str, Any],
    p: Tensor,
    group: Mapping[str, Any],
    optimizer: LogTimeOptimizer,
    i: int,
) -> None:
    names = optimizer.state_names(group, p)
    if set(names) != {"m", "v"}:
        raise ValueError(
            f"{type(optimizer).__name__} keeps {', '.join(names)} of a parameter; only members "
            "with m and v can start from AdamW's state"
        )
    if optimizer.form(group).corrected:
        raise ValueError(
            f"{type(optimizer).__name__} corrects the bias of its averages itself, and would do so "
            "twice; only members with log-time averages can start from AdamW's state"
        )
    if is_coded(group, p):
        raise ValueError(
            "AdamW's state can be taken over into states in full only, and of bfloat16 weights "
            f"only with bf16_weights='nearest'; this group has {group['state_dtype']!r} states, "
            f"bf16_weights={group['bf16_weights']!r} and weights of {p.dtype}. Build the "
            "optimizer without codes, load, and then call adana.convert_states"
        )
    missing = {"step", "exp_avg", "exp_avg_sq"} - set(saved)
    if missing:
        raise ValueError(f"parameter {i} of the state dict lacks {', '.join(sorted(missing))}")
    if saved["exp_avg"].shape != p.shape:
        raise ValueError(
            f"parameter {i} has shape {tuple(p.shape)}, its saved state "
            f"{tuple(saved['exp_avg'].shape)}. Were both built over the parameters in one order? "
            "adana.param_groups has another than model.parameters(): pass the order of AdamW as "
            "parameters=model.parameters(), or build both with names"
        )


def _converted(
    saved: Mapping[str, Any],
    p: Tensor,
    group: Mapping[str, Any],
    betas: tuple[float, float],
    step: int,
    *,
    home: torch.device,
) -> dict[str, Tensor]:
    made, dtype = int(saved["step"]), working_dtype(p)
    parts = {"m": dtype, "v": dtype}
    state = new_state(p, parts, home, capturable=group["capturable"])
    state[STEP].fill_(step)
    state["v"].copy_(saved["exp_avg_sq"].to(dtype) / (1 - betas[1] ** made))
    bound = state["v"].sqrt()
    m = saved["exp_avg"].to(dtype=dtype, device=home) / (1 - betas[0] ** made)
    state["m"].copy_(m.clamp(min=-bound, max=bound))
    return state
