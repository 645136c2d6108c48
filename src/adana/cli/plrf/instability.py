"""`adana plrf instability`: why log-time momentum needs damping and a fresh gradient."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import ProblemFlags, Whole, carry_out
from adana.plrf.experiments.instability import BATCHES, instability_experiment
from adana.schedules import DELTA


@dataclass(frozen=True)
class PlotInstability(ProblemFlags):
    """Draw how log-time momentum without damping explodes, at every batch size.

    The first chart is a prediction for momentum whose multiplier is delta + t. The second trains a
    small drawn problem with the library's own optimizers: ADana, Log-AdamW (averages alone),
    Log-NAdamW (no damping) and ADana without the fresh gradient, each at six learning rates.

        adana plrf instability

        adana plrf instability --batches 8 32 128 inf --runs 0   the prediction alone, in seconds
    """

    batches: tuple[float, ...] = BATCHES
    """Samples a step; inf: exact gradients."""
    steps: Whole = 100_000_000
    """Steps of the prediction."""
    first_step: float = 0.05
    """gamma2 times the largest eigenvalue."""
    delta: float = DELTA
    """Memory: the newest gradient weighs delta / (delta + t)."""
    runs: int = 4
    """Runs of each optimizer at each learning rate; 0: none."""
    run_dimension: Whole = 200
    """Parameters of the problem that the optimizers train."""
    run_steps: Whole = 4000
    """Steps of the optimizers."""
    run_batch: int = 32
    """Samples a step of the optimizers."""


def instability_command(arguments: PlotInstability) -> int:
    """Run `adana plrf instability`; return the exit code."""
    a = arguments
    return carry_out(
        "instability",
        lambda progress: instability_experiment(
            a.alpha,
            a.beta,
            dimension=a.dimension,
            batches=a.batches,
            total_steps=a.steps,
            first_step=a.first_step,
            delta=a.delta,
            ablated_dimension=a.run_dimension,
            ablated_batch=a.run_batch,
            ablated_steps=a.run_steps,
            runs=a.runs,
            progress=progress,
        ),
        arguments,
    )
