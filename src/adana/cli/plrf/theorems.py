"""`adana plrf theorems`: which averages keep weights bounded."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out
from adana.plrf.experiments.theorems import DELTAS, theorems_experiment


@dataclass(frozen=True)
class PlotTheorems(OutputFlags):
    """Show three theorems on log-time averages with the smallest experiments there are.

    On sums of |theta|: Log-AdamW can diverge, Adam with constant betas cannot, and log-time
    schedules stay bounded on sparse gradients once their steps are scaled by sqrt(p). The
    optimizers are the library's own.

        adana plrf theorems
    """

    deltas: tuple[float, ...] = DELTAS
    """Memories of Log-AdamW on one dense coordinate; below 1/2 it diverges."""
    steps: Whole = 20_000
    """Steps on the dense coordinate."""
    rare_steps: Whole = 3000
    """Steps with ever rarer coordinates."""
    rarest: float = 1e-3
    """Smallest probability of a gradient on the sparse coordinate; time grows like 1/rarest."""
    runs: int = 64
    """Runs for each probability."""
    seed: int = 0
    """Of which gradients are zero."""


def theorems_command(arguments: PlotTheorems) -> int:
    """Run `adana plrf theorems`; return the exit code."""
    a = arguments
    return carry_out(
        "theorems",
        lambda progress: theorems_experiment(
            deltas=a.deltas,
            total_steps=a.steps,
            rare_steps=a.rare_steps,
            rarest=a.rarest,
            runs=a.runs,
            seed=a.seed,
            progress=progress,
        ),
        arguments,
    )
