"""`adana plrf phases`: the phase diagram with its exponents."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out
from adana.plrf.experiments.phases import phases_experiment


@dataclass(frozen=True)
class PlotPhases(OutputFlags):
    """Draw the phases of (alpha, beta) and give the exponents at a point of each.

    A phase is a set of terms that the risk is made of; the exponents of SGD and DANA in time and in
    compute follow. Slopes in time are measured too, for ten million parameters.

        adana plrf phases

        adana plrf phases --alpha 0.7 --beta 1.2   the exponents at your own point
    """

    alpha: float = 1.0
    """How fast the features' scales fall, at the point that is looked at."""
    beta: float = 0.3
    """How fast the target's weights fall there. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = 10_000_000
    """Parameters d of the problems whose slopes are measured."""
    steps: Whole = 1_000_000_000
    """Steps of those."""


def phases_command(arguments: PlotPhases) -> int:
    """Run `adana plrf phases`; return the exit code."""
    a = arguments
    return carry_out(
        "phases",
        lambda progress: phases_experiment(
            a.alpha, a.beta, dimension=a.dimension, total_steps=a.steps, progress=progress
        ),
        arguments,
    )
