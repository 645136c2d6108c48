"""Running many trainings: engines now, the tuner later."""

from adana.tune.engine import Emit, Engine, Result, Work
from adana.tune.local import LocalEngine, run_jobs
from adana.tune.ray_engine import RayEngine
from adana.tune.worker import Limits

__all__ = ["Emit", "Engine", "Limits", "LocalEngine", "RayEngine", "Result", "Work", "run_jobs"]
