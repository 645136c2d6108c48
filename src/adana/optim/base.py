"""What every optimizer of the family shares: arguments, state, stepping, resuming.

A subclass adds its own hyperparameters to the groups and says how they become the numbers of an
update (`hyper`). Nothing that changes the maths lives on the object: hyperparameters are in
`param_groups`, the step counter in each parameter's state, so that both are saved and restored.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor

from adana import schedules
from adana.optim.update import Hyper, update_foreach, update_single

DecayOrder = Literal["before", "after"]
EPS = 1e-8
"""Default of eps, outside the square root (the reference's value everywhere)."""
PEAK_TOLERANCE = 1e-6
"""How far above the peak, relatively, rounding in a scheduler may put the learning rate."""


class LogTimeOptimizer(torch.optim.Optimizer):
    """Base of the family. Subclasses implement `hyper` and extend `check_group`.

    State of a parameter: `step` (int64, 0-d, on the CPU), `m` and `v` (the parameter's shape;
    float32, or float64 for float64 parameters). Created at the parameter's first gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor,
        *,
        omega: float,
        total_steps: float | None,
        decay_offset: float | None,
        eps: float,
        decay_order: DecayOrder,
        peak_lr: float | None,
        foreach: bool | None,
        maximize: bool,
        **own: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "peak_lr": peak_lr,
            "omega": omega,
            "total_steps": total_steps,
            "decay_offset": decay_offset,
            "eps": eps,
            "decay_order": decay_order,
            "foreach": foreach,
            "maximize": maximize,
            **own,
        }
        super().__init__(params, defaults)

    # --- for subclasses ---------------------------------------------------------------------

    def hyper(self, group: dict[str, Any], t: int) -> Hyper:
        """Return the numbers of the update at step t (from 1) for `group`."""
        raise NotImplementedError(f"{type(self).__name__} must implement hyper(group, t)")

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise `ValueError` unless every hyperparameter of `group` is in its range."""
        check_range("lr", float(group["lr"]), low=0.0)
        check_range("peak_lr", group["peak_lr"], low=0.0, low_open=True)
        check_range("omega", group["omega"], low=0.0)
        check_range("eps", group["eps"], low=0.0)
        check_range("decay_offset", group["decay_offset"], low=0.0)
        if group["total_steps"] is not None:
            check_range("total_steps", group["total_steps"], low=1.0)
        if group["decay_order"] not in ("before", "after"):
            raise ValueError(
                f"decay_order must be 'before' or 'after', got {group['decay_order']!r}"
            )
        first_decay = schedules.log_time_decay(1, group["omega"], group["decay_offset"])
        if first_decay >= 1:
            raise ValueError(
                f"omega={group['omega']} with decay_offset={group['decay_offset']} would remove "
                f"{first_decay:.0%} of every weight at the first step. decay_offset is in steps; "
                "leave it out for the default, or choose one well above omega."
            )

    # --- groups -----------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, filling in defaults and resolving `peak_lr` and `decay_offset`.

        A group may say `weight_decay: 0` instead of `omega: 0`, as groups made for
        `torch.optim.AdamW` do; any other `weight_decay` is refused, because it has other units.
        """
        group = dict(param_group)
        weight_decay = group.get("weight_decay")
        if weight_decay:
            raise ValueError(
                f"{type(self).__name__} takes the decay strength omega, not weight_decay="
                f"{weight_decay}. The same strength as AdamW's is "
                "omega = lr * weight_decay * total_steps (adana.schedules.weight_decay_to_omega)."
            )
        if weight_decay == 0:
            group.setdefault("omega", 0.0)
        merged = {**self.defaults, **group}
        explicit = merged["peak_lr"] is not None
        group["peak_lr"] = merged["peak_lr"] if explicit else float(merged["lr"])
        group["peak_lr_explicit"] = group.get("peak_lr_explicit", explicit)
        if merged["decay_offset"] is None:
            group["decay_offset"] = schedules.default_decay_offset(
                merged["omega"], merged["total_steps"]
            )
        self.check_group({**self.defaults, **group})
        super().add_param_group(group)
        for p in self.param_groups[-1]["params"]:
            if torch.is_complex(p):
                self.param_groups.pop()
                raise RuntimeError(
                    f"{type(self).__name__} does not support complex parameters "
                    f"(got one of shape {tuple(p.shape)}); optimize torch.view_as_real of it."
                )

    def gamma(self, group: dict[str, Any]) -> float:
        """Return the schedule multiplier `lr / peak` of a group.

        The peak is the explicit `peak_lr`, else the `max_lr` or `initial_lr` that torch's
        schedulers leave in the group, else the learning rate at construction.

        Raises:
            ValueError: the learning rate is above its peak, so that decay would be too strong.
        """
        peak = group["peak_lr"]
        if not group["peak_lr_explicit"]:
            peak = float(group.get("max_lr", group.get("initial_lr", peak)))
        lr = float(group["lr"])
        if lr > peak * (1 + PEAK_TOLERANCE):
            raise ValueError(
                f"the learning rate {lr:g} is above its peak {peak:g}; weight decay scales with "
                f"lr / peak. Pass the highest learning rate of the run as peak_lr to "
                f"{type(self).__name__}, or set it in the group."
            )
        return lr / peak if peak > 0 else 0.0

    # --- the step ---------------------------------------------------------------------------

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Perform one update; `closure`, if given, re-evaluates the model and returns the loss.

        Raises:
            RuntimeError: a gradient is sparse or complex.
            ValueError: the learning rate is above its peak (see `gamma`).
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._refuse(group)  # before any counter or weight has moved
        for group in self.param_groups:
            for (t, _, _), params in self._by_step(group).items():
                self._update(group, params, self.hyper(group, t))
        return loss

    def _refuse(self, group: dict[str, Any]) -> None:
        """Raise for a learning rate above its peak and for sparse gradients."""
        self.gamma(group)
        if any(p.grad is not None and p.grad.is_sparse for p in group["params"]):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients; "
                "build the embedding with sparse=False."
            )

    def _by_step(self, group: dict[str, Any]) -> dict[Any, list[Tensor]]:
        """Advance the counters and return the parameters with a gradient by (t, dtype, device)."""
        buckets: dict[Any, list[Tensor]] = defaultdict(list)
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                self._init_state(p, state)
            state["step"] += 1
            buckets[int(state["step"]), p.dtype, p.device].append(p)
        return buckets

    def _init_state(self, p: Tensor, state: dict[str, Any]) -> None:
        dtype = torch.promote_types(p.dtype, torch.float32)
        state["step"] = torch.zeros((), dtype=torch.int64)
        for name in ("m", "v"):
            state[name] = torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)

    def _update(self, group: dict[str, Any], params: list[Tensor], h: Hyper) -> None:
        m = [self.state[p]["m"] for p in params]
        v = [self.state[p]["v"] for p in params]
        # Parameters narrower than their state (bf16, fp16) are updated in the state's dtype and
        # rounded once, decay and step together.
        wide = m[0].dtype
        work = [p.to(wide) for p in params]
        grads = [p.grad.to(wide) for p in params if p.grad is not None]
        if group["maximize"]:
            grads = [-g for g in grads]
        decay_after = group["decay_order"] == "after"
        if group["foreach"] is None or group["foreach"]:
            update_foreach(work, grads, m, v, h, decay_after=decay_after)
        else:
            for each in zip(work, grads, m, v, strict=True):
                update_single(*each, h, decay_after=decay_after)
        for p, updated in zip(params, work, strict=True):
            if p is not updated:
                p.copy_(updated)

    # --- saving and restoring ---------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled optimizer, filling in hyperparameters it did not have yet."""
        super().__setstate__(state)
        own = {k: v for k, v in self.defaults.items() if k != "differentiable"}  # torch adds it
        for group in self.param_groups:
            for name, value in own.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict, keeping every state tensor in the dtype it was saved in.

        `torch.optim.Optimizer` would cast the moments to the parameter's dtype, which loses the
        float32 moments of bfloat16 parameters.
        """
        super().load_state_dict(state_dict)
        saved_ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(saved_ids, params, strict=True):
            for name, value in state_dict["state"].get(i, {}).items():
                if isinstance(value, Tensor) and name != "step":
                    self.state[p][name] = value.to(device=p.device, copy=True)


def check_range(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Raise `ValueError` unless `value` is a finite number in the interval."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value):
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        if above and below:
            return
    left = "(" if low_open or low == -math.inf else "["
    right = ")" if high_open or high == math.inf else "]"
    raise ValueError(
        f"{name} must be a finite number in {left}{low:g}, {high:g}{right}, got {value!r}"
    )
