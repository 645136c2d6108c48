"""`adana plrf theorems`: which averages keep weights bounded."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out, defaults
from adana.plrf.experiments.theorems import theorems_experiment

OWN = defaults(theorems_experiment)


@dataclass(frozen=True)
class PlotTheorems(OutputFlags):
    """Show three theorems on log-time averages with the smallest experiments there are.

    On sums of |theta|: Log-AdamW can diverge, Adam with constant betas cannot, and log-time
    schedules stay bounded on sparse gradients once their steps are scaled by sqrt(p). The
    optimizers are the library's own.
        adana plrf theorems
    """

    deltas: tuple[float, ...] = OWN.deltas
    """Memories of Log-AdamW on one dense coordinate; below 1/2 it diverges."""
    steps: Whole = OWN.total_steps
    """Steps on the dense coordinate."""
    rare_steps: Whole = OWN.rare_steps
    """Steps with ever rarer coordinates."""
    rarest: float = OWN.rarest
    """Smallest probability of a gradient on the sparse coordinate; time grows like 1/rarest."""
    runs: int = OWN.runs
    """Runs for each probability."""
    seed: int = OWN.seed
    """Of which gradients are zero."""


def theorems_command(arguments: PlotTheorems) -> int:
    """Run `adana plrf theorems`; return the exit code."""
    return carry_out("theorems", theorems_experiment, arguments, steps="total_steps")
