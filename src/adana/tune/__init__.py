"""Running many trainings: engines now, the tuner later."""

from adana.tune.local import Result, run_jobs

__all__ = ["Result", "run_jobs"]
