"""`adana plrf instability`: why log-time momentum needs damping and a fresh gradient."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import ProblemFlags, Whole, carry_out, defaults
from adana.plrf.experiments.instability import instability_experiment

OWN = defaults(instability_experiment)


@dataclass(frozen=True)
class PlotInstability(ProblemFlags):
    """Draw how log-time momentum without damping explodes, the later the larger the batch.

    The first chart is a prediction for momentum whose multiplier is delta + t. The second trains a
    small drawn problem with the library's own optimizers: ADana, Log-AdamW (averages alone),
    Log-NAdamW (no damping) and ADana without the fresh gradient, each at six learning rates.
        adana plrf instability
        adana plrf instability --batches 8 32 128 inf --runs 0   the prediction alone, in seconds
    """

    batches: tuple[float, ...] = OWN.batches
    """Samples a step; inf: exact gradients."""
    steps: Whole = OWN.total_steps
    """Steps of the prediction."""
    first_step: float = OWN.first_step
    """gamma2 times the largest eigenvalue."""
    delta: float = OWN.delta
    """Memory: the newest gradient weighs delta / (delta + t)."""
    runs: int = OWN.runs
    """Runs of each optimizer at each learning rate; 0: none."""
    run_dimension: Whole = OWN.ablated_dimension
    """Parameters of the problem that the optimizers train."""
    run_steps: Whole = OWN.ablated_steps
    """Steps of the optimizers."""
    run_batch: int = OWN.ablated_batch
    """Samples a step of the optimizers."""


def instability_command(arguments: PlotInstability) -> int:
    """Run `adana plrf instability`; return the exit code."""
    return carry_out(
        "instability",
        instability_experiment,
        arguments,
        steps="total_steps",
        run_dimension="ablated_dimension",
        run_steps="ablated_steps",
        run_batch="ablated_batch",
    )
