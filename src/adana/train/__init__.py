"""One training run: configuration, loop, checkpoints, evaluation."""

from adana.train.config import (
    LayoutConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
)
from adana.train.optimizers import HYPERPARAMETERS, OPTIMIZERS, build_optimizer
from adana.train.optimizers import entry as optimizer_entry
from adana.train.progress import OnProgress, Outcome, Progress
from adana.train.session import train
from adana.train.world import World, join_world, local_ranks, pick_device

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
    "World",
    "build_optimizer",
    "config_from_dict",
    "config_to_dict",
    "join_world",
    "local_ranks",
    "optimizer_entry",
    "pick_device",
    "train",
]
