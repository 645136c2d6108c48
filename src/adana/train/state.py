"""All that the next step of a run depends on: what a checkpoint holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adana.train.averages import WeightAverage
from adana.train.foreign_state import ForeignState
from adana.train.nodes import PREFIX

WEIGHTS = "model."
"""What the names of the weights begin with in a checkpoint."""


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
    foreign: ForeignState | None = None
    """What the optimizer remembers, where it is one of another package."""

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what a checkpoint holds: plain values, as JSON, and the tensors by name, live.

        Raises:
            RunError: an optimizer of another package remembers what it cannot hold.
        """
        if self.foreign is None:
            return self._plain(), self._common_tensors() | self._optimizer_tensors()
        structure, tensors = self.foreign.saved()
        return {**self._plain(), "optimizer": structure}, self._common_tensors() | tensors

    def room(self, plain: dict[str, Any]) -> dict[str, Tensor]:
        """Return the tensors, by name, that a checkpoint with these plain values is read into.

        Those of this package's optimizers and torch's are live; they are made if they are not there
        yet.
        """
        if self.foreign is None:
            return self._common_tensors() | self._optimizer_tensors()
        return self._common_tensors() | self.foreign.room(plain["optimizer"])

    def _plain(self) -> dict[str, Any]:
        """Return what is not a tensor; hyperparameters follow from the configuration."""
        return {
            "averages": vars(self.averages),
            "weight_averages": {each.rule.name: each.count for each in self.weight_averages},
            "seconds": self.seconds,
            "split": self.split,
        }

    def _common_tensors(self) -> dict[str, Tensor]:
        """Return weights, as `model.NAME` for any layout, and averages of them."""
        tensors = {WEIGHTS + name: value for name, value in self.model.state_dict().items()}
        for each in self.weight_averages:
            tensors |= each.tensors()
        return tensors

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's states as `optimizer.NAME.STATE`."""
        return {
            f"{PREFIX}{name}.{key}": value
            for name, states in self._optimizer_state()["state"].items()
            for key, value in states.items()
            if isinstance(value, Tensor)
        }

    def restore(self, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from the plain values of a checkpoint and its tensors, read into `room`."""
        if self.foreign is None:
            self._restore_optimizer(tensors)
        else:
            self.foreign.restore(plain["optimizer"], tensors)
        self.step = plain["step"]
        self.averages = Averages(**plain["averages"])
        for each in self.weight_averages:
            each.count = plain["weight_averages"][each.rule.name]
        self.seconds, self.split = plain["seconds"], plain["split"]

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        saved = self._optimizer_state()
        for name, states in saved["state"].items():
            for key in states:
                states[key] = tensors.get(f"{PREFIX}{name}.{key}", states[key])
        from torch.distributed.checkpoint import state_dict  # noqa: PLC0415 (see adana.train.dcp)

        state_dict.set_optimizer_state_dict(self.model, self.optimizer, optim_state_dict=saved)

    def _optimizer_state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint import state_dict  # noqa: PLC0415 (see adana.train.dcp)

        return dict(state_dict.get_optimizer_state_dict(self.model, self.optimizer))
