"""All that the next step of a run depends on: what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass
class Averages:
    """Sums over the steps since the last training row."""

    steps: int = 0
    loss: float = 0.0
    grad_norm: float = 0.0
    clipped: int = 0

    def add(self, loss: float, grad_norm: float, clip: float) -> None:
        """Count one step."""
        self.steps += 1
        self.loss += loss
        self.grad_norm += grad_norm
        self.clipped += grad_norm > clip

    def row(self) -> dict[str, float]:
        """Return the means as columns of a training row."""
        return {
            "train_loss": self.loss / self.steps,
            "grad_norm": self.grad_norm / self.steps,
            "clipped": self.clipped / self.steps,
        }


@dataclass
class TrainState:
    """All that the next step depends on, and the clocks that the summary reports."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Completed optimizer steps; also the position in the data (times the batch size)."""
    averages: Averages = field(default_factory=Averages)
    seconds: float = 0.0
    """Wall-clock time of all sessions up to the last step, evaluations and checkpoints between
    steps included."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": vars(self.averages),
            "seconds": self.seconds,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]
        self.averages = Averages(**saved["averages"])
        self.seconds = saved["seconds"]
