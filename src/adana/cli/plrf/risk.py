"""`adana plrf risk`: SGD against DANA, with the slopes of the theory."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import BatchFlags, Whole, carry_out
from adana.plrf.experiments.risk import risk_experiment
from adana.plrf.momentum import GAIN
from adana.schedules import DELTA


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

    steps: Whole = 1_000_000_000
    """Steps T."""
    gain: float = GAIN
    """Constant c of DANA's momentum step c gamma2 (1 + t)^-kappa."""
    delta: float = DELTA
    """Memory: the newest gradient weighs delta / (delta + t)."""
    runs: int = 16
    """Simulated runs of each method for the second chart; 0: none."""
    simulated_dimension: Whole = 800
    """Parameters of the problem that is drawn and simulated."""
    simulated_steps: Whole = 3000
    """Steps of the simulated runs."""


def risk_command(arguments: PlotRisk) -> int:
    """Run `adana plrf risk`; return the exit code."""
    a = arguments
    return carry_out(
        "risk",
        lambda progress: risk_experiment(
            a.alpha,
            a.beta,
            dimension=a.dimension,
            batch=a.batch,
            total_steps=a.steps,
            gain=a.gain,
            delta=a.delta,
            runs=a.runs,
            simulated_dimension=a.simulated_dimension,
            simulated_steps=a.simulated_steps,
            progress=progress,
        ),
        arguments,
    )
