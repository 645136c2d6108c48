"""`adana plrf risk`: SGD against DANA, with the slopes of the theory."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import BatchFlags, Whole, carry_out, defaults
from adana.plrf.experiments.risk import risk_experiment

OWN = defaults(risk_experiment)


@dataclass(frozen=True)
class PlotRisk(BatchFlags):
    """Draw the risk of SGD, SGD with momentum, Schedule-Free SGD and DANA, and their slopes.

    Curves are predictions, by default for a million parameters and a billion steps; a second chart
    checks them against simulated runs of a small problem that is drawn.
        adana plrf risk                       phase Ia: one power law, then the floor
        adana plrf risk --beta 0.7            phase II: a second, slower power law follows
        adana plrf risk --beta 1.3            phase III: gradient noise sets the first slope
        adana plrf risk --alpha 0.4 --beta 0.8   phase IVa: momentum cannot help
    """

    steps: Whole = OWN.total_steps
    """Steps T."""
    gain: float = OWN.gain
    """Constant c of DANA's momentum step c gamma2 (1 + t)^-kappa."""
    delta: float = OWN.delta
    """Memory: the newest gradient weighs delta / (delta + t)."""
    runs: int = OWN.runs
    """Simulated runs of each method for the second chart; 0: none."""
    simulated_dimension: Whole = OWN.simulated_dimension
    """Parameters of the problem that is drawn and simulated."""
    simulated_steps: Whole = OWN.simulated_steps
    """Steps of the simulated runs."""


def risk_command(arguments: PlotRisk) -> int:
    """Run `adana plrf risk`; return the exit code."""
    return carry_out("risk", risk_experiment, arguments, steps="total_steps")
