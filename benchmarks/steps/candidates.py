"""Who takes the steps: the family in every variant it has, torch's optimizers, other libraries.

What is not there (an argument of a later version, a package that is not installed) is left out with
a line that says why.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

import adana

from .lists import List

Parameters = list[torch.nn.Parameter]
Make = Callable[[Parameters, List], Any]
LR = 1e-3
FAMILY = (
    *("ADana", "DanaMK4", "DanaStar", "DanaStarMK4", "LogAdamW"),
    *("AdEMAMix", "LogAdEMAMix", "Dana", "LogMuon"),
)
VARIANTS = ("default", "fused", "foreach", "eager", "compiled")
"""default: no argument; eager: one parameter after another; compiled: torch.compile of the step."""


class Candidate(NamedTuple):
    """An optimizer that takes part."""

    name: str
    make: Make


class Several:
    """Optimizers that share the work, as one: torch's Muon takes matrices only."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self.optimizers = optimizers

    def step(self) -> None:
        """Step them all."""
        for optimizer in self.optimizers:
            optimizer.step()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the groups of all."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        """Return the states of all."""
        return {p: state for o in self.optimizers for p, state in o.state.items()}


def candidates(
    variants: Sequence[str], state_dtypes: Sequence[str]
) -> tuple[list[Candidate], list[str]]:
    """Return who takes part, and a line for everyone who does not."""
    found, notes = torchs(), []
    for some, missing in (family(variants, state_dtypes), others()):
        found += some
        notes += missing
    return found, notes


def torchs() -> list[Candidate]:
    """Return torch's own: AdamW in its three paths, and Muon."""
    paths: dict[str, dict[str, bool]] = {
        "AdamW fused": {"fused": True},
        "AdamW foreach": {"foreach": True},
        "AdamW for-loop": {"foreach": False},
    }
    adamw = [
        Candidate(name, lambda ps, _, path=path: torch.optim.AdamW(ps, lr=LR, **path))
        for name, path in paths.items()
    ]
    return [*adamw, Candidate("Muon + AdamW fused", muon)]


def muon(params: Parameters, entries: List) -> Any:
    """Return torch's Muon for matrices of hidden layers and fused AdamW for the rest."""
    both = list(zip(params, entries, strict=True))
    matrices = [p for p, entry in both if entry.hidden]
    rest = [p for p, entry in both if not entry.hidden]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=LR))
    if rest:
        made.append(torch.optim.AdamW(rest, lr=LR, fused=True))
    return Several(*made)


def family(
    variants: Iterable[str], state_dtypes: Sequence[str]
) -> tuple[list[Candidate], list[str]]:
    """Return the family's members in these variants, and what this version has not got."""
    found, notes = [], []
    for name, variant, dtype in itertools.product(FAMILY, variants, state_dtypes):
        cls = getattr(adana, name)
        words = [name, *([variant] if variant != "default" else [])]
        arguments = arguments_of(cls, variant)
        if dtype != "fp32":
            words.append(dtype)
            arguments = with_state_dtype(cls, arguments, dtype)
        if arguments is None:
            notes.append(f"{' '.join(words)}: left out, this version of adana has no such argument")
            continue
        found.append(Candidate(" ".join(words), member(cls, arguments, variant == "compiled")))
    return found, notes


def arguments_of(cls: Any, variant: str) -> dict[str, Any] | None:
    """Return the arguments of a variant; None where the class does not have it."""
    has_fused = "fused" in cls.DEFAULTS
    unfused = {"fused": False} if has_fused else {}
    return {
        "default": {},
        "fused": {"fused": True} if has_fused else None,
        "foreach": {"foreach": True, **unfused},
        "eager": {"foreach": False, **unfused},
        "compiled": unfused,
    }[variant]


def with_state_dtype(
    cls: Any, arguments: dict[str, Any] | None, dtype: str
) -> dict[str, Any] | None:
    """Return the arguments with a `state_dtype`; None where the class takes none."""
    if arguments is None or "state_dtype" not in cls.DEFAULTS:
        return None
    return {**arguments, "state_dtype": dtype}


def member(cls: Any, arguments: dict[str, Any], compiled: bool) -> Make:
    """Return the function that makes a member of the family."""

    def make(params: Parameters, entries: List) -> Any:
        groups: list[Any] = list(params)
        if cls is adana.LogMuon:
            hidden = [entry.hidden for entry in entries]
            pairs = list(zip(params, hidden, strict=True))
            sides = {side: [p for p, is_hidden in pairs if is_hidden == side] for side in hidden}
            groups = [{"params": ps, "muon": side} for side, ps in sides.items()]
        optimizer = cls(groups, lr=LR, total_steps=100_000, **arguments)
        if compiled:
            optimizer.step = torch.compile(optimizer.step)
        return optimizer

    return make


OTHERS = {
    "schedulefree AdamW": ("schedulefree", "schedulefree", "AdamWScheduleFree"),
    "pytorch-optimizer AdamW": ("pytorch_optimizer", "pytorch-optimizer", "AdamW"),
    "pytorch-optimizer StableAdamW": ("pytorch_optimizer", "pytorch-optimizer", "StableAdamW"),
    "torch-optimi AdamW": ("optimi", "torch-optimi", "AdamW"),
}
"""What it is called here: the module, the package that has it, the class."""


def others() -> tuple[list[Candidate], list[str]]:
    """Return what other libraries have, and how to install those that are missing."""
    found, notes = [], []
    for name, (module, package, class_name) in OTHERS.items():
        try:
            cls = getattr(importlib.import_module(module), class_name)
        except ImportError:
            notes.append(f"{name}: left out, not installed; pip install {package}")
            continue
        if cls is torch.optim.AdamW:
            notes.append(f"{name}: left out, it is torch.optim.AdamW itself")
            continue
        found.append(Candidate(name, lambda ps, _, cls=cls: in_training(cls(ps, lr=LR))))
    return found, notes


def in_training(optimizer: Any) -> Any:
    """Return the optimizer, switched to training where it has such a switch (schedulefree)."""
    if hasattr(optimizer, "train"):
        optimizer.train()
    return optimizer
