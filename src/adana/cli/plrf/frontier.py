"""`adana plrf frontier`: the lowest risk for a compute, over all sizes."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out, defaults
from adana.plrf.experiments.frontier import frontier_experiment

OWN = defaults(frontier_experiment)


@dataclass(frozen=True)
class PlotFrontier(OutputFlags):
    """Draw the lowest risk that a compute can buy, and the size of the model that gets it.

    Each size d is trained as long as the compute allows; small ones meet their floor, large ones
    are not yet trained. The exponents of the envelope are fitted and compared with the theory.
        adana plrf frontier
        adana plrf frontier --beta 1.3               phase III, where not all is confirmed
        adana plrf frontier --alpha 0.4 --beta 0.2   below the line: all algorithms alike
    """

    alpha: float = OWN.alpha
    """How fast the features' scales fall: the j-th is j^-alpha."""
    beta: float = OWN.beta
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    smallest: Whole = OWN.smallest
    """Smallest d; four times as many hidden inputs."""
    largest: Whole = OWN.largest
    """Largest d; three sizes in a factor of ten."""
    compute: float = OWN.most_compute
    """Largest compute d B t."""
    batch: int = OWN.batch
    """Samples a step."""
    gain: float = OWN.gain
    """Constant c of DANA's momentum step."""
    delta: float = OWN.delta
    """Memory: the newest gradient weighs delta / (delta + t)."""


def frontier_command(arguments: PlotFrontier) -> int:
    """Run `adana plrf frontier`; return the exit code."""
    return carry_out("frontier", frontier_experiment, arguments, compute="most_compute")
