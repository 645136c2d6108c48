"""ADana by name in libraries that look optimizers up by name and let others add to their table.

Of those we read (docs/integrations.md lists them) only timm has such a table; the others take a
class, a dotted path, or an optimizer that you build. A library is imported when its function is
called, not before.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

from adana import schedules
from adana.optim import ADana


def register_with_timm(
    name: str = "adana", optimizer: Callable[..., torch.optim.Optimizer] = ADana
) -> None:
    """Let timm's `create_optimizer_v2(model, name, ...)` build `optimizer`.

    timm states decay as `weight_decay`, in the units of `torch.optim.AdamW`, and decides itself
    which parameters have any. Its value is converted with the number of steps, which you add::

        adana.integrations.register_with_timm()
        timm.optim.create_optimizer_v2(
            model, "adana", lr=3e-4, weight_decay=0.1, total_steps=100_000
        )

    Or add `omega` to state the strength itself; `weight_decay` then only says what decays. Other
    hyperparameters are passed on.

    Args:
        name: what to call it. Letters and digits only: timm splits names at underscores.
        optimizer: a class of this package.

    Raises:
        ImportError: timm is not installed; the message says how to install it.
        ValueError: timm could not find an optimizer of this name.
    """
    if not name.isalnum():
        raise ValueError(f"timm finds only names of letters and digits, got {name!r}")
    try:
        timm_optim = importlib.import_module("timm.optim")
    except ModuleNotFoundError as error:
        if error.name != "timm":  # what timm itself needs
            raise
        raise ModuleNotFoundError(
            "register_with_timm needs timm, which is not installed: pip install timm", name="timm"
        ) from error
    registry = importlib.import_module("timm.optim._optim_factory").default_registry

    def build(
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        omega: float | None = None,
        total_steps: float | None = None,
        **hyperparameters: Any,
    ) -> torch.optim.Optimizer:
        groups = _groups_with_omega(params, lr, weight_decay, omega, total_steps)
        return optimizer(groups, lr=lr, total_steps=total_steps, **hyperparameters)

    registry.register(
        timm_optim.OptimInfo(
            name=name,
            opt_class=build,
            description=(optimizer.__doc__ or name).splitlines()[0],
            has_betas="betas" in inspect.signature(optimizer).parameters,
        )
    )


def _groups_with_omega(
    params: Iterable[Any],
    lr: float,
    weight_decay: float,
    omega: float | None,
    total_steps: float | None,
) -> list[dict[str, Any]]:
    """Return parameter groups that say `omega` where those given say AdamW's `weight_decay`.

    A group that has an `omega` keeps it.

    Raises:
        ValueError: a decay cannot be converted, or `omega` would apply to no parameter.
    """
    given = list(params)
    groups: list[dict[str, Any]] = (
        given if given and isinstance(given[0], dict) else [{"params": given}]
    )
    translated = []
    for group in groups:
        others = {key: value for key, value in group.items() if key != "weight_decay"}
        decay = group.get("weight_decay", weight_decay)
        if decay == 0:
            strength = 0.0
        elif omega is not None:
            strength = omega
        elif total_steps is not None:
            strength = schedules.weight_decay_to_omega(decay, group.get("lr", lr), total_steps)
        else:
            raise ValueError(
                f"weight_decay={decay} is in AdamW's units. To convert it pass total_steps, the "
                "number of optimizer steps; or state the strength itself with omega."
            )
        translated.append({"omega": strength, **others})
    if omega and not any(group["omega"] for group in translated):
        raise ValueError(
            f"omega={omega} would apply to no parameter, because weight_decay is 0 everywhere. "
            "Pass any other weight_decay, so that timm marks the parameters that decay."
        )
    return translated
