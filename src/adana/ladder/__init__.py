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
from adana.ladder.devices import DEVICES, THIS, Device, find_device
from adana.ladder.estimates import MFU, Estimate, Hardware, estimate, job_memory
from adana.ladder.learning_rates import (
    DEMO_BATCH,
    DEMO_MODEL,
    DEMO_STEPS,
    Rate,
    peak_learning_rate,
    planned_learning_rate,
)
from adana.ladder.objective import (
    TrainingObjective,
    hyperparameters,
    training_scale,
    training_space,
    with_hyperparameters,
)
from adana.ladder.plan import PlannedTraining, plan_to_dict, plan_trainings, total
from adana.ladder.published_laws import LAW_SEQUENCE, LAWS, NoLawError, PublishedLaw, find_law
from adana.ladder.rule_files import open_rules, read_rules, write_rules
from adana.ladder.rules import Rule, RuleBook, Ruled, rule_of
from adana.ladder.rungs import (
    BATCH_SIZE,
    PUBLISHED_HEADS,
    TOKENS_PER_PARAM,
    Rung,
    budget_rule,
    plan_rung,
    steps_of_budget,
)
from adana.ladder.speed import seconds_per_step
from adana.ladder.study import (
    PRESETS,
    Cell,
    Study,
    centre_rate,
    first_rates,
    mean_losses,
    next_rate,
    training_order,
)
from adana.ladder.tuned import TUNABLE, TunedSize, read_tuned

__all__ = [
    "BATCH_SIZE",
    "DEMO_BATCH",
    "DEMO_MODEL",
    "DEMO_STEPS",
    "DEVICES",
    "LAWS",
    "LAW_SEQUENCE",
    "MFU",
    "PRESETS",
    "PUBLISHED_HEADS",
    "THIS",
    "TOKENS_PER_PARAM",
    "TUNABLE",
    "Cell",
    "Device",
    "Estimate",
    "Hardware",
    "NoLawError",
    "PlannedRun",
    "PlannedTraining",
    "PublishedLaw",
    "Rate",
    "Rule",
    "RuleBook",
    "Ruled",
    "Rung",
    "Study",
    "TrainingObjective",
    "TunedSize",
    "budget_rule",
    "centre_rate",
    "estimate",
    "find_device",
    "find_law",
    "first_rates",
    "hyperparameters",
    "job_memory",
    "job_payload",
    "mean_losses",
    "next_rate",
    "open_rules",
    "peak_learning_rate",
    "plan_run",
    "plan_rung",
    "plan_seeds_and_horizons",
    "plan_to_dict",
    "plan_trainings",
    "planned_learning_rate",
    "read_rules",
    "read_tuned",
    "rule_of",
    "run_job",
    "seconds_per_step",
    "steps_of_budget",
    "sweep_rates",
    "total",
    "training_order",
    "training_scale",
    "training_space",
    "with_hyperparameters",
    "with_optimizer",
    "write_rules",
]
