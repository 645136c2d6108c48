"""What the family refuses, and what each error says to do instead.

Arguments of other optimizers, and tensors that the update does not work on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana import schedules
from adana.optim.storage import STEP

INSTEAD = {
    "betas": (
        f"Its averages have log-time memory, which delta sets (default {schedules.DELTA:g}; larger "
        "is shorter): at step t that of the beta 1 - delta/(delta + t). Leave betas out."
    ),
    "momentum": (
        f"Its averages have log-time memory, which delta sets (default {schedules.DELTA:g}; larger "
        "is shorter). Leave momentum out; momentum_scale is the strength of the momentum term."
    ),
    "amsgrad": (
        "It keeps no maximum of v. Leave amsgrad out; where steps grow too large, lower lr."
    ),
    "nesterov": "The gradient is a term of its own beside the momentum. Leave nesterov out.",
    "decoupled_weight_decay": "Its decay is always decoupled. Leave it out.",
}
"""By arguments of `torch.optim` that many know, what to do in a member that does not take them."""


def unknown_argument(
    owner: str, name: str, given: Mapping[str, Any], known: Iterable[str], lr: Any
) -> TypeError:
    """Return the error for argument `name`, one of `given`, which `owner` does not take.

    It says what to pass instead where that is known, and otherwise which arguments are `known`.
    """
    if name == "weight_decay":
        total = given.get("total_steps")
        return TypeError(f"{owner} {no_weight_decay(given[name], lr, total)}")
    has_delta = "delta" in known
    if name in INSTEAD and (has_delta or name not in {"betas", "momentum"}):
        return TypeError(f"{owner} has no argument {name!r}. {INSTEAD[name]}")
    return TypeError(f"{owner} has no argument {name!r}; it takes {', '.join(sorted(known))}")


def no_weight_decay(value: Any, lr: Any, total_steps: Any) -> str:
    """Say which omega is as strong as AdamW's `weight_decay=value`: a number where it can."""
    if value == 0:
        return "takes the decay strength omega, not weight_decay: pass omega=0 for no decay."
    head = f"takes the decay strength omega, not weight_decay={value}"
    try:
        omega = schedules.weight_decay_to_omega(float(value), float(lr), float(total_steps))
    except (TypeError, ValueError):  # no horizon, or not numbers
        advice = (
            ". The same strength as AdamW's is omega = lr * weight_decay * total_steps "
            "(adana.schedules.weight_decay_to_omega)"
        )
    else:
        advice = (
            f". The same strength as AdamW's is omega={omega:.4g} "
            "(lr * weight_decay * total_steps, adana.schedules.weight_decay_to_omega)"
        )
    return (
        f"{head}{advice}; which parameters decay is up to the groups, and "
        "adana.param_groups(model) makes the usual ones."
    )


def wrapped(optimizer: Any) -> str:
    """Say which optimizer to pass in place of one that wraps another, as Accelerate's does."""
    for name in ("optimizer", "optim"):  # Accelerate's, ZeroRedundancyOptimizer
        inner = getattr(optimizer, name, None)
        if isinstance(inner, torch.optim.Optimizer):
            return f". It wraps one of {type(inner).__name__}: pass its .{name}"
    return ""


def refuse_parameter(owner: str, p: Tensor) -> None:
    """Raise `RuntimeError` for a complex or sparse parameter."""
    if p.is_complex():
        raise RuntimeError(
            f"{owner} does not support complex parameters (got one of shape {tuple(p.shape)}); "
            "optimize torch.view_as_real of it."
        )
    if p.layout is not torch.strided:
        raise RuntimeError(
            f"{owner} does not support parameters of layout {p.layout} (got one of shape "
            f"{tuple(p.shape)}); optimize its values(), or the dense tensor."
        )


def refuse_gradient(owner: str, p: Tensor, g: Tensor) -> None:
    """Raise `RuntimeError` for a sparse or complex gradient or one of another shape.

    And for a parameter that became complex or sparse.
    """
    refuse_parameter(owner, p)
    if g.layout is not torch.strided:
        raise RuntimeError(
            f"{owner} does not support sparse gradients (got one of layout {g.layout} and shape "
            f"{tuple(g.shape)}); build the embedding with sparse=False, or make p.grad dense."
        )
    if g.shape != p.shape:
        raise RuntimeError(
            f"{owner} got a gradient of shape {tuple(g.shape)} for a parameter of shape "
            f"{tuple(p.shape)}, whose data was replaced since: call zero_grad() after doing that."
        )
    if g.is_complex():
        raise RuntimeError(
            f"{owner} does not support complex gradients (got one of shape {tuple(g.shape)} for a "
            f"parameter of {p.dtype}); leave the parameter's grad_dtype at its default."
        )


def refuse_cast(p: Tensor, kept: torch.dtype | None) -> None:
    """Raise `RuntimeError` for a parameter of float64 whose state is not, or the other way round.

    Between dtypes of up to 32 bits a parameter may be cast: their states are alike.
    """
    if kept is not None and (p.dtype == torch.float64) != (kept == torch.float64):
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)} is of {p.dtype} and its state of {kept}: it "
            "was cast in the middle of training. Cast it back, or drop its state to begin its "
            "averages anew: optimizer.state.pop(parameter)."
        )


def refuse_unequal_averages(owner: str, names: Iterable[str], equal_weights: bool) -> None:
    """Raise `ValueError` where "log16" has no bound on m: its averages are not those it is for."""
    kept = set(names)
    if {"m", "v"} <= kept <= {"m", "v", "tau"} and equal_weights:
        return
    why = (
        "m and v have other weights there" if {"m", "v"} <= kept <= {"m", "v", "tau"}
        else f"it keeps {', '.join(sorted(kept))} of a parameter"
    )  # fmt: skip
    raise ValueError(
        f"state_dtype='log16' needs averages m and v of equal weights, which keep |m| below "
        f"sqrt(v), and {owner} has none: {why}. Use 'fp24' or 'bf16_sr', for all or in the group "
        "concerned."
    )


SMALLEST_EPS = 2.0**-52
"""Of "log16", whose v is a multiple of 2^-105: zero at most steps for gradients below 2^-52."""


def refuse_tiny_eps(eps: float) -> None:
    """Raise `ValueError` where a v that is read as zero would leave next to nothing to divide by.

    An update is at most about `g / eps` there, and must not be larger than it is elsewhere.
    """
    if eps < SMALLEST_EPS:
        raise ValueError(
            f"state_dtype='log16' needs eps of at least 2^-52 = {SMALLEST_EPS:.3g}, got {eps:g}: v "
            "of smaller gradients is kept as zero. Use 'fp24' or 'bf16_sr', or scale the loss up."
        )


def warn_of_other_codes(
    asked: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]],
    defaults: Mapping[str, Any],
) -> None:
    """Warn where a group asked for codes and what was loaded has others: bytes and noise differ.

    `asked` are the groups as they were built, `groups` as they are now. `defaults` ask for nothing.
    """
    for name, kept in (("state_dtype", "states"), ("bf16_weights", "bfloat16 weights")):
        for before, now in zip(asked, groups, strict=True):
            code, found = before[name], now[name]
            concerned = name == "state_dtype" or any(
                p.dtype == torch.bfloat16 for p in now["params"]
            )
            if code in (defaults[name], found) or not concerned:
                continue
            those = [i for i, each in enumerate(asked) if each[name] == code]
            where = "" if len(those) == len(asked) else f", groups={those}"
            warnings.warn(
                f"the state dict has {kept} in {name}={found!r}, and they go on so: not in "
                f"{code!r}, which this optimizer was built with. To go on in that, call "
                f"adana.convert_states(optimizer, {name}={code!r}{where}).",
                stacklevel=3,
            )
            break


COURSE = (
    "total_steps", "omega", "decay_offset", "kappa", "delta", "momentum_scale", "extra_momentum",
    "clip_snr", "momentum_cooldown", "betas", "eps", "ns_steps", "rms_scale",
)  # fmt: skip
"""Hyperparameters whose loss in loading a state is told: a run would go on in silence without."""


def warn_of_other_course(
    given: Mapping[str, Any],
    asked: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]],
    defaults: Mapping[str, Any],
) -> None:
    """Warn where what was loaded has replaced hyperparameters that the optimizer was built with.

    A longer horizon, say, `given` to the constructor, or values of a group's own. The other
    arguments are those of `warn_of_other_codes`.
    """
    lost: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    own = []
    for i, (before, now) in enumerate(zip(asked, groups, strict=True)):
        for name in COURSE:
            wanted, found = before.get(name), now.get(name)
            if wanted in (found, defaults.get(name)) or _is_default_offset(name, before):
                continue
            if wanted == given.get(name):
                lost[f"{name}={wanted}"], changes[name] = found, wanted
            else:
                lost[f"{name}={wanted} of param_groups[{i}]"] = found
                own.append(f"optimizer.param_groups[{i}]['{name}'] = {wanted}")
    if not lost:
        return
    if changes:
        words = ", ".join(f"{name}={wanted}" for name, wanted in changes.items())
        own.insert(0, f"call optimizer.reschedule({words})")
    warnings.warn(
        "the saved hyperparameters replace those that this optimizer was built with: "
        f"{', '.join(f'{what} (saved: {found})' for what, found in lost.items())}. "
        f"To go on with the new ones, after loading: {'; '.join(own)}.",
        stacklevel=3,
    )


def _is_default_offset(name: str, group: Mapping[str, Any]) -> bool:
    """Whether `name` is the decay's offset and that is what the group's horizon makes of it."""
    return name == "decay_offset" and group[name] == schedules.default_decay_offset(
        group["omega"], group["total_steps"]
    )


def refuse_other_shapes(saved: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ValueError` where a saved state has another shape than the parameter in its place."""
    for theirs, ours in zip(saved["param_groups"], groups, strict=False):
        names = ours.get("param_names", ours["params"])
        if len(theirs["params"]) != len(ours["params"]):
            return  # torch says which sizes do not fit
        for i, p, name in zip(theirs["params"], ours["params"], names, strict=True):
            state = saved["state"].get(i) or {}
            kept = (x for key, x in state.items() if key != STEP and isinstance(x, Tensor))
            found = next((x for x in kept if x.shape != p.shape), None)
            if found is not None:
                which = f"{name}, " if isinstance(name, str) else ""
                raise ValueError(
                    f"the saved state of parameter {i} is of shape {tuple(found.shape)}, and the "
                    f"parameter in its place ({which}{tuple(p.shape)}) is not: give the "
                    "parameters in the order in which they were when it was saved, or names to "
                    "both optimizers (adana.param_groups(model, names=True))"
                )


def refuse_other_stacks(
    saved: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]
) -> None:
    """Raise `ValueError` where a group was built for stacks of matrices and saved for others."""
    for i, (theirs, ours) in enumerate(zip(saved, groups, strict=False)):
        found, asked = theirs.get("stack_dims", 0), ours.get("stack_dims", 0)
        if found != asked:
            raise ValueError(
                f"group {i} of the state dict was trained with stack_dims={found}, this optimizer "
                f"is built with {asked}: its matrices would be other ones without a word. Build "
                "the optimizer as it was, or change the saved group to go on otherwise: "
                f"state_dict['param_groups'][{i}]['stack_dims'] = {asked}"
            )


def refuse_other_codes(saved: Mapping[str, Any], parts: Mapping[str, torch.dtype]) -> None:
    """Raise `ValueError` where what was saved of a state is not what `parts` says is stored."""
    for name, dtype, found in _other_codes(saved, parts):
        raise ValueError(
            f"the saved groups say that a state {name!r} of {dtype} is stored, but the state dict "
            f"has {found or 'none'}. torch.distributed.checkpoint loads into the tensors that are "
            "there: build the optimizer with the state_dtype and bf16_weights of the checkpoint."
        )


def refuse_to_convert(state: Mapping[str, Any], parts: Mapping[str, torch.dtype]) -> None:
    """Raise `ValueError` where a state is not what `parts` says is stored: it has no meaning."""
    for name, dtype, found in _other_codes(state, parts):
        raise ValueError(
            f"a state {name!r} should be of {dtype} and is {found or 'missing'}, so what its "
            "numbers mean is unknown and they cannot be converted. States are not to be cast: "
            "restore them from a checkpoint, or drop them (optimizer.state.clear()) to begin anew."
        )


def _other_codes(
    state: Mapping[str, Any], parts: Mapping[str, torch.dtype]
) -> Iterator[tuple[str, torch.dtype, torch.dtype | None]]:
    """Yield what is not as `parts` says: its name, the dtype it should have, and what it has.

    float32 and float64 may stand for each other; codes, whose numbers mean nothing as floats, not.
    """
    wide = {torch.float32, torch.float64}
    for name, dtype in parts.items():
        found = state[name].dtype if name in state else None
        if found != dtype and not (found in wide and dtype in wide):
            yield name, dtype, found
