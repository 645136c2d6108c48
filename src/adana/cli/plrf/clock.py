"""`adana plrf clock`: how many steps of SGD a step of DANA is worth."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out, defaults
from adana.plrf.experiments.clock import clock_experiment

OWN = defaults(clock_experiment)


@dataclass(frozen=True)
class PlotClock(OutputFlags):
    """Draw how many steps SGD needs for the risk that DANA has after t steps.

    Theory: t^(2 - 1/(2 alpha)), whatever the target, up to a constant. A second chart shows the
    risks against the clock of each algorithm, where they run side by side.
        adana plrf clock
        adana plrf clock --alphas 0.7 1.0 1.5 --gain 0.5
    """

    alphas: tuple[float, ...] = OWN.alphas
    """How fast the features' scales fall, a line for each; above 1/2."""
    beta: float = OWN.beta
    """How fast the target's weights fall: j^-beta."""
    dimension: Whole = OWN.dimension
    """Parameters d; four times as many hidden inputs. Nothing is drawn, so large costs little."""
    steps: Whole = OWN.total_steps
    """Steps of DANA."""
    gain: float = OWN.gain
    """Constant c of DANA's momentum step."""
    delta: float = OWN.delta
    """Memory: the newest gradient weighs delta / (delta + t)."""


def clock_command(arguments: PlotClock) -> int:
    """Run `adana plrf clock`; return the exit code."""
    return carry_out("clock", clock_experiment, arguments, steps="total_steps")
