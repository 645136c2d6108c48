"""What an optimizer is told: hyperparameters in groups, their checks, what they say of a step.

Everything here is numbers. What is done with them to tensors is `stepping`.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor

from adana import schedules
from adana.checks import check_choice, check_integer, check_range
from adana.optim.codecs import CODECS, WEIGHTS
from adana.optim.coded import Bf16Weights, StateDtype, stored_parts
from adana.optim.peak import multiplier
from adana.optim.refusals import (
    INSTEAD,
    no_weight_decay,
    refuse_parameter,
    refuse_tiny_eps,
    refuse_unequal_averages,
    unknown_argument,
)
from adana.optim.storage import steps_made
from adana.optim.update import Form, Hyper
from adana.strength import check_first_decay, warn_of_strong_decay

if TYPE_CHECKING:
    from adana.optim.offload import OffloadedStates

DecayOrder = Literal["before", "after"]
Decay = Literal["log-time", "constant"]
STATE_VERSION = 2
"""Version of the groups' contents, in each group as `version`. 1: only ADana and LogAdamW."""


_HOW_ELSE = {
    "lr": " (the rate of the moment stands in the groups: group['lr'] = ...; its peak is peak_lr)",
    "weight_decay": " (decay is omega)",
    "state_dtype": " (adana.convert_states changes it)",
    "bf16_weights": " (adana.convert_states changes it)",
}
"""By what cannot be rescheduled: how it is changed."""


class CommonArguments(TypedDict, total=False):
    """Keyword arguments that every member takes, documented at `adana.ADana`."""

    omega: float
    total_steps: float | None
    decay_offset: float | None
    decay: Decay
    decay_order: DecayOrder
    eps: float
    peak_lr: float | None
    foreach: bool | None
    maximize: bool
    capturable: bool
    differentiable: bool
    fused: bool | None
    state_dtype: StateDtype
    bf16_weights: Bf16Weights
    seed: int


class ScheduledOptimizer(torch.optim.Optimizer):
    """Groups of hyperparameters, some of which change with the step."""

    _constructing = False
    """Whether `__init__` adds the groups, and will look at all of them at once."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "peak_lr": None,
        "omega": schedules.OMEGA,
        "total_steps": None,
        "decay_offset": None,
        "decay": "log-time",
        "decay_order": "before",
        "eps": schedules.EPS,
        "foreach": None,
        "maximize": False,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "state_dtype": "fp32",
        "bf16_weights": "stochastic",
        "seed": 0,
        "version": STATE_VERSION,
    }
    """Every hyperparameter a group holds besides `lr`, with its default."""

    host: OffloadedStates | None = None
    """What keeps the states in host memory and steps there: see `adana.offload_states`."""

    def __init_subclass__(cls) -> None:
        """Show every hyperparameter and its default in the signature (`help`, `inspect`)."""
        super().__init_subclass__()
        kind = inspect.Parameter.KEYWORD_ONLY
        own = [
            inspect.Parameter(name, kind, default=default)
            for name, default in cls.DEFAULTS.items()
            if name != "version"
        ]
        init = inspect.signature(ScheduledOptimizer.__init__).parameters
        cls.__signature__ = inspect.Signature([init["params"], init["lr"], *own])  # type: ignore[attr-defined]

    def __init__(self, params: Iterable[Any], lr: float | Tensor, **given: Any) -> None:
        unknown = sorted(set(given) - set(self.DEFAULTS))
        if unknown:
            known = set(self.DEFAULTS) - {"version"}
            raise unknown_argument(type(self).__name__, unknown[0], given, known, lr)
        self._constructing = True
        super().__init__(params, {"lr": lr, **self.DEFAULTS, **given})
        self._constructing = False
        self._refuse_silent_lack_of_decay()
        self._warn_of_strong_decay(self.param_groups)

    def _warn_of_strong_decay(self, groups: Sequence[dict[str, Any]]) -> None:
        """Warn once, of the group that decays most, where the next step would remove too much."""
        steps = [steps_made(self, group) + 1 for group in groups]
        taken = [self.decay(group, step) for group, step in zip(groups, steps, strict=True)]
        most, step, group = max(zip(taken, steps, groups, strict=True), key=lambda each: each[0])
        offset = group["decay_offset"] if group["decay"] == "log-time" else None
        warn_of_strong_decay(most, group["omega"], offset, step=step, stacklevel=_outside())

    def _refuse_silent_lack_of_decay(self) -> None:
        """Raise where groups made for AdamW without decay would switch all decay off."""
        spared = [
            group["omega"] == 0 and group.get("weight_decay") == 0 for group in self.param_groups
        ]
        if all(spared) and self.defaults["omega"] > 0:
            raise ValueError(
                f"every parameter group says weight_decay: 0, so nothing would decay, though omega="
                f"{self.defaults['omega']:g}. Make the groups with adana.param_groups(model), or "
                "say omega in them; pass omega=0 if no decay is meant."
            )

    # --- for subclasses ---------------------------------------------------------------------

    def hyper(self, group: dict[str, Any], t: Any) -> Hyper:
        """Return the numbers of the update at step t (from 1; a float or a tensor) for `group`."""
        raise NotImplementedError(f"{type(self).__name__} must implement hyper(group, t)")

    def form(self, group: Mapping[str, Any]) -> Form:
        """Return which terms the update of `group` has."""
        return Form(decay=group["omega"] > 0, decay_after=group["decay_order"] == "after")

    def state_names(self, group: Mapping[str, Any], p: Tensor) -> tuple[str, ...]:
        """Return the names of the state tensors of parameter `p`, each of its shape."""
        return self.form(group).state_names()

    def stored(self, group: Mapping[str, Any], p: Tensor) -> dict[str, torch.dtype]:
        """Return the names and dtypes of the state tensors of `p` as they are kept."""
        return stored_parts(group, p, self.state_names(group, p))

    def check_codes(self, group: Mapping[str, Any], p: Tensor) -> None:
        """Raise `ValueError` unless the states of `p` can be kept as the group says."""
        if group["state_dtype"] == "fp32":
            return
        if p.dtype == torch.float64:
            raise ValueError(
                f"state_dtype={group['state_dtype']!r} is for weights of at most 32 bits, got one "
                f"of {p.dtype}: say state_dtype='fp32' in its group, which keeps float64 for it"
            )
        if group["state_dtype"] == "log16":
            refuse_tiny_eps(group["eps"])
            at_peak = {**group, "lr": self.peak(group)}
            hypers = [self.hyper(at_peak, t) for t in (1.0, 2.0, 30.0, 1e3, 1e5, 1e7)]
            refuse_unequal_averages(
                type(self).__name__,
                self.state_names(group, p),
                all(h.ema_m == h.ema_v for h in hypers),
            )

    def resolve_group(self, group: dict[str, Any]) -> None:
        """Replace the `None`s of a complete group by what they stand for, and numpy's numbers.

        Raises `ValueError` where what others follow from is out of its range.
        """
        group |= {name: as_python(group[name]) for name in ("lr", *self.DEFAULTS)}
        check_range("omega", group["omega"], low=0.0)
        if group["total_steps"] is not None:
            check_range("total_steps", group["total_steps"], low=1.0)
        if group["decay_offset"] is None:
            group["decay_offset"] = schedules.default_decay_offset(
                group["omega"], group["total_steps"]
            )

    def check_group(self, group: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of a complete group is in its range."""
        check_range("lr", float(group["lr"]), low=0.0)
        peak = "peak_lr" if group["peak_lr_explicit"] else "lr (unless peak_lr is given)"
        check_range(peak, group["peak_lr"], low=0.0, low_open=True)
        check_range("eps", group["eps"], low=0.0)
        check_range("decay_offset", group["decay_offset"], low=0.0)
        check_choice("decay_order", group["decay_order"], ("before", "after"))
        check_choice("decay", group["decay"], ("log-time", "constant"))
        if group["differentiable"]:
            raise ValueError(
                f"{type(self).__name__} updates in place and cannot be differentiated through; "
                "leave differentiable=False, or differentiate through adana.optax instead."
            )
        self._check_decay(group)
        self._check_lr_tensor(group)
        self._check_execution(group)

    def _check_execution(self, group: Mapping[str, Any]) -> None:
        check_choice("state_dtype", group["state_dtype"], tuple(CODECS))
        check_choice("bf16_weights", group["bf16_weights"], tuple(WEIGHTS))
        check_integer("seed", group["seed"], low=0, high=2**64 - 1)
        if group["fused"] and group["foreach"] is not None:
            raise ValueError("pass fused=True or foreach, not both: they are two ways to step")
        if group["capturable"] and self.host is not None:
            raise ValueError(
                "capturable=True is for steps that run on the device, and these run on the host, "
                "where the states are: pass capturable=False, or do not offload the states"
            )

    def _check_decay(self, group: Mapping[str, Any]) -> None:
        if group["decay"] == "constant" and group["total_steps"] is None:
            raise ValueError("decay='constant' removes omega / total_steps: pass total_steps")
        check_first_decay(self.decay(group, 1), group["omega"], group["decay_offset"])

    def _check_lr_tensor(self, group: Mapping[str, Any]) -> None:
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.device.type != "cpu" and not group["capturable"]:
            raise ValueError(
                f"lr is a tensor on {lr.device}, which would be read back at every step; "
                "pass capturable=True, or a number or CPU tensor"
            )

    # --- what depends on time ---------------------------------------------------------------

    def decay(self, group: Mapping[str, Any], t: Any) -> Any:
        """Return the fraction of a weight that decay removes at step t, before gamma."""
        if group["decay"] == "constant":
            return schedules.constant_decay(group["omega"], group["total_steps"])
        if group["omega"] == 0:
            return 0.0
        return schedules.log_time_decay(t, group["omega"], group["decay_offset"])

    @staticmethod
    def peak(group: Mapping[str, Any]) -> Any:
        """Return the highest learning rate of the run of a group.

        It is the explicit `peak_lr`, else the `max_lr` or `initial_lr` that torch's schedulers
        leave in the group, else the learning rate at construction.
        """
        if group["peak_lr_explicit"]:
            return group["peak_lr"]
        return group.get("max_lr", group.get("initial_lr", group["peak_lr"]))

    def gamma(self, group: Mapping[str, Any]) -> Any:
        """Return the schedule multiplier `lr / peak` of a group.

        A tensor if capturable with a tensor `lr`; then it is cut off at 1, because a check would
        have to wait for the device.

        Raises:
            ValueError: the learning rate is above its peak, so that decay would be too strong.
        """
        lr, peak = group["lr"], self.peak(group)
        if group["capturable"] and isinstance(lr, Tensor):
            return (lr / peak).clamp(max=1.0)
        return multiplier(float(lr), float(peak), type(self).__name__)

    def step_numbers(self, group: Mapping[str, Any], t: Any) -> dict[str, Any]:
        """Return the entries of `Hyper` that all members compute alike."""
        lr = group["lr"]
        if not (group["capturable"] and isinstance(lr, Tensor)):
            lr = float(lr)
        return {
            "lr": lr,
            "decay": self.gamma(group) * self.decay(group, t),
            "eps": group["eps"],
            "scale": -1.0 if group["maximize"] else 1.0,
        }

    # --- groups -----------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, filling in defaults and resolving `peak_lr`, `decay_offset` and the like.

        A group may say `weight_decay: 0` instead of `omega: 0`, as groups made for
        `torch.optim.AdamW` do; any other `weight_decay` is refused, because it has other units, and
        so are arguments of other optimizers that the constructor refuses. Other names are left to
        whoever wrote them there, with a warning if one looks like a typing error.
        """
        group = dict(param_group)
        self._look_at_names(group)
        weight_decay = group.get("weight_decay")
        if weight_decay:
            merged = {**self.defaults, **group}
            advice = no_weight_decay(weight_decay, merged["lr"], merged["total_steps"])
            raise ValueError(f"{type(self).__name__} {advice}")
        if weight_decay == 0:
            group.setdefault("omega", 0.0)
        merged = {**self.defaults, **group}
        if not isinstance(merged["lr"], Tensor):
            check_range("lr", merged["lr"], low=0.0)
        explicit = merged["peak_lr"] is not None
        if not explicit:
            merged["peak_lr"] = float(merged["lr"])
        elif group.get("peak_lr") is None and float(self.defaults["lr"]) > 0:
            # One peak for all: a group with a learning rate of its own has its peak in proportion.
            merged["peak_lr"] *= float(merged["lr"]) / float(self.defaults["lr"])
        merged["written_by"] = type(self).__name__
        merged["peak_lr_explicit"] = merged.get("peak_lr_explicit", explicit)
        self.resolve_group(merged)
        self.check_group(merged)
        super().add_param_group(merged)
        try:
            for p in self.param_groups[-1]["params"]:
                if p.requires_grad:  # others may be of any kind: the step looks at them again
                    refuse_parameter(type(self).__name__, p)
                    self.check_codes(self.param_groups[-1], p)
        except (RuntimeError, ValueError):
            self.param_groups.pop()
            raise
        if not self._constructing:
            self._warn_of_strong_decay(self.param_groups[-1:])

    def _look_at_names(self, group: Mapping[str, Any]) -> None:
        """Refuse arguments of other optimizers in a group, and warn of names that look mistyped."""
        known = set(self.DEFAULTS) - {"version"}
        for name in group.keys() - known - {"params", "lr"}:
            if name in INSTEAD:
                raise unknown_argument(type(self).__name__, name, group, known, None)
            meant = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if meant and meant[0][0] == name[0]:
                warnings.warn(
                    f"a group has {name!r}, which {type(self).__name__} does not read; is "
                    f"{meant[0]!r} meant?",
                    stacklevel=_outside(),
                )

    # --- changing course --------------------------------------------------------------------

    def reschedule(self, **changes: Any) -> None:
        """Change hyperparameters of all groups in the middle of training.

        For a changed horizon (`total_steps`), memory (`delta`), damping (`kappa`), decay (`omega`,
        `decay_offset`), peak of the learning rate (`peak_lr`, for going on at another rate) and
        whatever else the groups hold. The averages are normalised, so they stay valid. Groups
        without decay stay without it. A `decay_offset` that was the default for the old horizon
        becomes the default for the new one. Where groups have different peaks, `peak_lr` is a list
        of one for each. Groups added later get the new values too, except for `peak_lr`.

        Raises:
            ValueError: a name is unknown, or a value is out of range; nothing is changed then.

        Warns:
            UserWarning: the next step would remove more than a fifth of a group's weights.
        """
        fixed = {
            "version", "variant", "muon", "stack_dims", "foreach", "capturable", "differentiable",
            "state_dtype", "bf16_weights",
        }  # fmt: skip
        unknown = sorted(set(changes) - (set(self.DEFAULTS) - fixed))
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} cannot be rescheduled{_HOW_ELSE.get(unknown[0], '')}; the choice "
                f"is {', '.join(sorted(set(self.DEFAULTS) - fixed))}"
            )
        if changes.get("omega") and not any(group["omega"] for group in self.param_groups):
            raise ValueError(
                "no group has any decay (omega 0), so omega cannot be rescheduled. Give it, and "
                "its offset in steps, to the groups that are to have some: group.update(omega=4.0, "
                "decay_offset=adana.schedules.default_decay_offset(4.0, total_steps))"
            )
        peaks = self._new_peaks(changes.pop("peak_lr", None))
        renewed = [
            self._changed(group, changes if peak is None else {**changes, "peak_lr": peak})
            for group, peak in zip(self.param_groups, peaks, strict=True)
        ]
        for group, new in zip(self.param_groups, renewed, strict=True):
            group.update(new)
        # For groups added later; those of an optimizer built without decay stay without it.
        spared = () if self.defaults["omega"] else ("omega",)
        self.defaults.update({k: x for k, x in changes.items() if k not in spared})
        self._warn_of_strong_decay(self.param_groups)

    def _new_peaks(self, given: float | Sequence[float] | None) -> Sequence[float | None]:
        """Return the peak asked for of every group; None where it is to stay."""
        if given is None:
            return [None] * len(self.param_groups)
        old = [float(self.peak(group)) for group in self.param_groups]
        if isinstance(given, Sequence):
            peaks, clear = list(given), len(given) == len(old)
        else:
            peaks, clear = [given] * len(old), len(set(old)) == 1
        if not clear:
            raise ValueError(
                f"peak_lr={given} cannot be that of {len(old)} groups whose peaks are "
                f"{', '.join(f'{x:g}' for x in old)}; pass one for each: peak_lr=[...]"
            )
        return peaks

    def _changed(self, group: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        new = {**group, **changes}
        if group["omega"] == 0:
            new["omega"] = 0.0
        default = schedules.default_decay_offset(group["omega"], group["total_steps"])
        if "decay_offset" not in changes and group["decay_offset"] == default:
            new["decay_offset"] = None
        new["peak_lr_explicit"] = group["peak_lr_explicit"] or "peak_lr" in changes
        self.resolve_group(new)
        self.check_group(new)
        for p in group["params"]:
            if self.state_names(new, p) != self.state_names(group, p):
                raise ValueError(
                    f"{', '.join(sorted(changes))} cannot be rescheduled to that: the update would "
                    "need averages that were not kept"
                )
            self.check_codes(new, p)
        return new


def as_python(value: Any) -> Any:
    """Return numpy's numbers as Python's, in pairs too: torch.load would not read them again."""
    if isinstance(value, tuple | list):
        return type(value)(map(as_python, value))
    return value.item() if isinstance(value, np.generic) else value


def _outside() -> int:
    """Return the stack level, for a warning of whoever calls this, of the first frame not ours."""
    frame, level = sys._getframe(1), 1
    folders = (os.path.dirname(__file__), os.path.dirname(torch.__file__))
    while frame.f_back is not None and frame.f_code.co_filename.startswith(folders):
        frame, level = frame.f_back, level + 1
    return level
