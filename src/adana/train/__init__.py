"""One training run: configuration, loop, checkpoints, evaluation."""

from adana.train.branch import Branch, branch_config, find_branch, plant
from adana.train.checkpoint import checkpoint_step, list_checkpoints
from adana.train.config import (
    LayoutConfig,
    OptimizerConfig,
    ScheduleConfig,
    ScheduleName,
    TrainConfig,
    config_from_dict,
    config_to_dict,
)
from adana.train.entry import HYPERPARAMETERS, OptimizerEntry, coupled_decay
from adana.train.load import find_checkpoint, load_trained
from adana.train.optimizers import (
    OPTIMIZERS,
    build_optimizer,
    optimizer_entry,
    optimizer_names,
    refuse_other_code,
    refuse_unread,
)
from adana.train.progress import OnProgress, Outcome, Progress
from adana.train.session import train
from adana.train.timescales import (
    DecayTimescales,
    Moment,
    decay_timescales,
    omega_of_tau_epochs,
)
from adana.train.world import (
    World,
    gpus_to_share,
    join_world,
    local_ranks,
    pick_device,
    ranks_expected,
)

__all__ = [
    "HYPERPARAMETERS",
    "OPTIMIZERS",
    "Branch",
    "DecayTimescales",
    "LayoutConfig",
    "Moment",
    "OnProgress",
    "OptimizerConfig",
    "OptimizerEntry",
    "Outcome",
    "Progress",
    "ScheduleConfig",
    "ScheduleName",
    "TrainConfig",
    "World",
    "branch_config",
    "build_optimizer",
    "checkpoint_step",
    "config_from_dict",
    "config_to_dict",
    "coupled_decay",
    "decay_timescales",
    "find_branch",
    "find_checkpoint",
    "gpus_to_share",
    "join_world",
    "list_checkpoints",
    "load_trained",
    "local_ranks",
    "omega_of_tau_epochs",
    "optimizer_entry",
    "optimizer_names",
    "pick_device",
    "plant",
    "ranks_expected",
    "refuse_other_code",
    "refuse_unread",
    "train",
]
