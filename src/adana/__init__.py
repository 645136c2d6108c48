"""Log-time optimizers for language models.

>>> import adana
>>> # optimizer = adana.ADana(adana.param_groups(model), lr=1e-3, total_steps=10_000)

The optimizers need torch and nothing else that is heavy. They, and with them torch, are imported
when they are first asked for; the training engine, the comparison tool and the report live in
subpackages. Two of them have the optimizers and models in other libraries, and say which extra to
install where that library is missing: `adana.optax` (JAX) and `adana.hf` (transformers).
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adana import hf as hf
    from adana import integrations, schedules
    from adana import optax as optax
    from adana.optim import (
        ADana,
        AdEMAMix,
        Dana,
        DanaMK4,
        DanaStar,
        DanaStarMK4,
        LogAdamW,
        LogAdEMAMix,
        LogMuon,
        clip_grad_norm,
        convert_states,
        float32_state_dict,
        load_adamw_state,
        log_time_average,
        offload_states,
        param_groups,
        release_gradients,
        with_log_time_decay,
    )

__version__ = "0.1.0"

__all__ = [
    "ADana",
    "AdEMAMix",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LogAdEMAMix",
    "LogAdamW",
    "LogMuon",
    "__version__",
    "clip_grad_norm",
    "convert_states",
    "float32_state_dict",
    "integrations",
    "load_adamw_state",
    "log_time_average",
    "offload_states",
    "param_groups",
    "release_gradients",
    "schedules",
    "with_log_time_decay",
]

_NEEDS = {"hf": "transformers", "optax": "optax"}
"""Subpackages that need an extra, and what of it."""

if not TYPE_CHECKING:  # which would take every name for one of ours

    def __getattr__(name: str) -> Any:
        """Import what is asked for: a name of `adana.optim`, or a module."""
        if name in ("integrations", "optim", "schedules", *_NEEDS):
            return importlib.import_module(f"adana.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'adana' has no attribute {name!r}")
        globals()[name] = found = getattr(importlib.import_module("adana.optim"), name)
        return found

    def __dir__() -> list[str]:
        there = (name for name, package in _NEEDS.items() if importlib.util.find_spec(package))
        return sorted({*globals(), *__all__, "optim", *there})
