"""The optimizers: one family, one update, many schedules."""

from adana.optim.adamw import LogAdamW
from adana.optim.adana import ADana
from adana.optim.groups import param_groups
from adana.optim.update import Hyper

__all__ = ["ADana", "Hyper", "LogAdamW", "param_groups"]
