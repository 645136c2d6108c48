"""One training run: configuration, loop, checkpoints, evaluation."""

from adana.train.config import (
    LayoutConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
)
from adana.train.loop import OnProgress, Outcome, Progress, pick_device, train
from adana.train.optimizers import HYPERPARAMETERS, OPTIMIZERS, build_optimizer
from adana.train.optimizers import entry as optimizer_entry

__all__ = [
    "HYPERPARAMETERS",
    "OPTIMIZERS",
    "LayoutConfig",
    "OnProgress",
    "OptimizerConfig",
    "Outcome",
    "Progress",
    "ScheduleConfig",
    "TrainConfig",
    "build_optimizer",
    "config_from_dict",
    "config_to_dict",
    "optimizer_entry",
    "pick_device",
    "train",
]
