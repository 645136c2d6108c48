"""Muon as a baseline: torch's own for matrices of hidden layers, torch's AdamW for the rest.

torch.optim has both, and no optimizer that is both. The two here step over the groups and states of
one, so that schedules, checkpoints and telemetry see a single optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from adana.optim import param_groups


class MuonWithAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` for groups with `muon: True`, `torch.optim.AdamW` for those without.

    One learning rate for both: Muon's steps are scaled to the size of AdamW's
    (`adjust_lr_fn="match_rms_adamw"`), as in the published runs (spec/optimizers.md section 9).
    Momentum 0.95 with Nesterov's step and 5 Newton-Schulz iterations are torch's defaults.

    Args:
        model: its hidden matrices are told by `adana.param_groups(model, muon=True)`.
        lr: peak learning rate.
        weight_decay: of both, `lr * weight_decay` a step; embeddings, norms and biases are spared.
        adamw: further arguments of `torch.optim.AdamW`.

    State: one momentum of a matrix's shape, AdamW's two averages and counter of what is none.

    Raises:
        ValueError: the model has no trainable parameters, or a number is out of range.
    """

    def __init__(
        self, model: nn.Module, lr: float, weight_decay: float, adamw: Mapping[str, Any]
    ) -> None:
        groups = param_groups(model, muon=True)
        shared = {"lr": lr, "weight_decay": weight_decay}
        super().__init__(groups, shared)
        self._make_parts({**shared, "adjust_lr_fn": "match_rms_adamw"}, {**shared, **adamw})

    def _make_parts(self, muon: Mapping[str, Any], adamw: Mapping[str, Any]) -> None:
        """Make an optimizer of each kind that has groups; what these say beats the arguments."""
        kinds = {True: (torch.optim.Muon, muon), False: (torch.optim.AdamW, adamw)}
        self._parts: dict[bool, torch.optim.Optimizer] = {
            which: kind(own, **arguments)
            for which, (kind, arguments) in kinds.items()
            if (own := self._groups_of(which))
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied, pickled or loaded optimizer: torch keeps groups and states alone."""
        super().__setstate__(state)
        self._make_parts({}, {})

    def _groups_of(self, muon: bool) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group["muon"] is muon]

    def step(self, closure: Any = None) -> Any:
        """Perform one update of all parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for muon, part in self._parts.items():  # loading replaces groups and state
            part.param_groups, part.state = self._groups_of(muon), self.state
            part.step()
        return loss
