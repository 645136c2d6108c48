"""`adana plrf phases`: the phase diagram with its exponents."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out, defaults
from adana.plrf.experiments.phases import phases_experiment

OWN = defaults(phases_experiment)


@dataclass(frozen=True)
class PlotPhases(OutputFlags):
    """Draw the phases of (alpha, beta) and give the exponents at a point of each.

    A phase is a set of terms that the risk is made of; the exponents of SGD and DANA in time and in
    compute follow. Slopes in time are measured too, for ten million parameters.
        adana plrf phases
        adana plrf phases --alpha 0.7 --beta 1.2   the exponents at your own point
    """

    alpha: float = OWN.alpha
    """How fast the features' scales fall, at the point that is looked at."""
    beta: float = OWN.beta
    """How fast the target's weights fall there. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = OWN.dimension
    """Parameters d of the problems whose slopes are measured."""
    steps: Whole = OWN.total_steps
    """Steps of those."""


def phases_command(arguments: PlotPhases) -> int:
    """Run `adana plrf phases`; return the exit code."""
    return carry_out("phases", phases_experiment, arguments, steps="total_steps")
