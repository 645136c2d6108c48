"""Arguments of optax's optimizers that ours do not take, and what each error says to do instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from adana import schedules

P = ParamSpec("P")
R = TypeVar("R")

_MEMORY = (
    f"averages have log-time memory, which delta sets (default {schedules.DELTA:g}; larger is "
    "shorter): leave it out"
)
INSTEAD = {
    "lr": "pass learning_rate, the first argument",
    "eps_root": "eps is added outside the root: leave it out",
    "mu_dtype": "averages are float32, or wider where parameters are: leave it out",
    "nesterov": "the gradient is a term of its own beside the momentum: leave it out",
}
"""By arguments that many know from optax or torch, what to do in a member that has them not."""


def explain_unknown_arguments(make: Callable[P, R]) -> Callable[P, R]:
    """Let `make`, an optimizer of ours, raise a `TypeError` that says what to pass instead."""
    signature = inspect.signature(make)

    @functools.wraps(make)
    def explained(*args: P.args, **kwargs: P.kwargs) -> R:
        unknown = [name for name in kwargs if name not in signature.parameters]
        if unknown:
            known = tuple(signature.parameters)
            given = {**dict(zip(known, args, strict=False)), **kwargs}
            by_advice: dict[str, list[str]] = {}
            for name in unknown:
                by_advice.setdefault(_instead(name, given, known), []).append(repr(name))
            told = "; ".join(f"{', '.join(names)}: {advice}" for advice, names in by_advice.items())
            raise TypeError(f"{make.__name__} has no argument {told}")
        return make(*args, **kwargs)

    return explained


def _instead(name: str, given: Mapping[str, Any], known: tuple[str, ...]) -> str:
    """Say what to do without the argument `name`."""
    if name == "weight_decay":
        return _strength(given) if "omega" in known else "it has no weight decay"
    if name in {"b1", "b2", "betas"}:
        return "pass betas=(b1, b2)" if "betas" in known else _MEMORY
    return INSTEAD.get(name, f"it takes {', '.join(known)}")


def _strength(given: Mapping[str, Any]) -> str:
    """Say which omega is as strong as AdamW's `weight_decay`: a number where there are numbers."""
    rate = given.get("peak_lr") or given.get("learning_rate", given.get("lr"))
    try:
        omega = schedules.weight_decay_to_omega(
            float(given["weight_decay"]), float(rate), float(given["total_steps"])
        )
    except (KeyError, TypeError, ValueError):  # no horizon, or not numbers: a schedule, traced
        return "pass omega = lr * weight_decay * total_steps, lr being the peak"
    return f"pass omega={omega:.4g} (lr * weight_decay * total_steps) for the same strength"
