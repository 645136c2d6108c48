"""Engines that run many trainings."""

from adana.tune.engine import Emit, Engine, Result, Work
from adana.tune.local import LocalEngine, run_jobs

__all__ = ["Emit", "Engine", "LocalEngine", "Result", "Work", "run_jobs"]
