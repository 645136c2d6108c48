"""From a size and a question to the runs that answer it."""

from adana.ladder.comparison import (
    PlannedRun,
    job_payload,
    plan_run,
    plan_seeds_and_horizons,
    run_job,
    sweep_rates,
    with_optimizer,
)
from adana.ladder.learning_rates import (
    DEMO_BATCH,
    DEMO_MODEL,
    DEMO_STEPS,
    Rate,
    peak_learning_rate,
)

__all__ = [
    "DEMO_BATCH",
    "DEMO_MODEL",
    "DEMO_STEPS",
    "PlannedRun",
    "Rate",
    "job_payload",
    "peak_learning_rate",
    "plan_run",
    "plan_seeds_and_horizons",
    "run_job",
    "sweep_rates",
    "with_optimizer",
]
