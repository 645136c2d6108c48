"""All that the next step of a run depends on: what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.utils._pytree import keystr, tree_leaves_with_path, tree_map_with_path

from adana.optim import LogTimeOptimizer
from adana.runs import RunError
from adana.train.averages import WeightAverage

WEIGHTS = "model."
"""What the names of the weights begin with in a checkpoint."""
_OPTIMIZER = "optimizer."
PLAIN = bool | int | float | str | None
"""What a checkpoint's JSON holds of an optimizer."""


@dataclass
class Averages:
    """Sums over the steps since the last training row."""

    steps: int = 0
    loss: float = 0.0
    z: float | None = 0.0
    """None where it is not known: Liger's kernel tells it only with a z-loss."""
    grad_norm: float = 0.0
    clipped: int = 0

    def add(self, loss: float, z: float, grad_norm: float, clip: float) -> None:
        """Count one step."""
        self.steps += 1
        self.loss += loss
        self.z = None if self.z is None or math.isnan(z) else self.z + z
        self.grad_norm += grad_norm
        self.clipped += grad_norm > clip

    def row(self) -> dict[str, float]:
        """Return the means as columns of a training row."""
        z = {} if self.z is None else {"train_z": self.z / self.steps}
        return {
            "train_loss": self.loss / self.steps,
            **z,
            "grad_norm": self.grad_norm / self.steps,
            "clipped": self.clipped / self.steps,
        }


@dataclass
class TrainState:
    """All that the next step depends on, and the clocks that the summary reports."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    weight_averages: list[WeightAverage] = field(default_factory=list)
    step: int = 0
    """Completed optimizer steps; also the position in the data (times the batch size)."""
    averages: Averages = field(default_factory=Averages)
    seconds: float = 0.0
    """Wall-clock time of all sessions up to the last step, checkpoint or end, evaluations and
    checkpoints included."""
    split: dict[str, float] = field(default_factory=dict)
    """Where that time went, in seconds by section (`adana.train.clock`)."""

    def __post_init__(self) -> None:
        self._configured = _group_values(self.optimizer)

    def plain(self) -> dict[str, Any]:
        """Return what is not a tensor, as JSON; hyperparameters follow from the configuration.

        Some optimizers of other packages count steps in their groups, or in numbers beside a
        parameter's tensors.
        """
        return {
            "group_values": [
                {key: value for key, value in now.items() if before.get(key) != value}
                for now, before in zip(_group_values(self.optimizer), self._configured, strict=True)
            ],
            "optimizer_values": {
                name: value
                for name, value in self._optimizer_leaves(self._optimizer_state())
                if not isinstance(value, Tensor)
            },
            "averages": vars(self.averages),
            "weight_averages": {each.rule.name: each.count for each in self.weight_averages},
            "seconds": self.seconds,
            "split": self.split,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by the name of its parameter, live: to be saved, or read into.

        Names are the same for any layout: `model.NAME` and `optimizer.NAME.STATE`. The optimizer's
        states are made if they are not there yet.
        """
        tensors = {WEIGHTS + name: value for name, value in self.model.state_dict().items()}
        for each in self.weight_averages:
            tensors |= each.tensors()
        return tensors | {
            name: value
            for name, value in self._optimizer_leaves(self._optimizer_state())
            if isinstance(value, Tensor)
        }

    def restore(self, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from what `plain` and `tensors` returned, the latter filled with saved values."""
        saved = self._optimizer_state()
        values = {**plain.get("optimizer_values", {}), **tensors}
        saved["state"] = {
            name: tree_map_with_path(
                lambda path, now, name=name: values.get(_name(name, path), now), states
            )
            for name, states in saved["state"].items()
        }
        set_optimizer_state_dict(self.model, self.optimizer, optim_state_dict=saved)
        # Absent from checkpoints of before.
        for group, changed in zip(
            self.optimizer.param_groups, plain.get("group_values", []), strict=False
        ):
            group.update(changed)
        self.step = plain["step"]
        self.averages = Averages(**plain["averages"])
        for each in self.weight_averages:
            each.count = plain["weight_averages"][each.rule.name]
        self.seconds, self.split = plain["seconds"], plain["split"]

    def _optimizer_state(self) -> dict[str, Any]:
        return dict(get_optimizer_state_dict(self.model, self.optimizer))

    def _optimizer_leaves(self, state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield tensors and plain values of the optimizer's state by name.

        Raises:
            RunError: the state holds something else, which a checkpoint cannot.
        """
        for name, states in state["state"].items():
            for path, value in tree_leaves_with_path(states):
                if not isinstance(value, Tensor | PLAIN):
                    raise RunError(
                        f"{type(self.optimizer).__name__} keeps a {type(value).__name__} in the "
                        f"state of {name} ({keystr(path)}). A checkpoint can hold tensors, "
                        "numbers and texts, and lists and dictionaries of them"
                    )
                yield _name(name, path), value


def _group_values(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the plain values of every group that may be more than configuration.

    Those of this package's optimizers are not, and the learning rate is set at each step.
    """
    if isinstance(optimizer, LogTimeOptimizer):
        return []
    return [
        {k: v for k, v in group.items() if k != "lr" and isinstance(v, PLAIN)}
        for group in optimizer.param_groups
    ]


def _name(parameter: str, path: Any) -> str:
    """Return what a checkpoint calls a leaf of a parameter's state: ``optimizer.NAME.m``."""
    keys = (str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
    return ".".join([f"{_OPTIMIZER}{parameter}", *keys])
