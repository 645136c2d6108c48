"""`adana plrf frontier`: the lowest risk for a compute, over all sizes."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, carry_out
from adana.plrf.experiments.frontier import frontier_experiment
from adana.plrf.momentum import GAIN
from adana.schedules import DELTA


@dataclass(frozen=True)
class PlotFrontier(OutputFlags):
    """Draw the lowest risk that a compute can buy, and the size of the model that gets it.

    Each size d is trained as long as the compute allows; small ones meet their floor, large ones
    are not yet trained. The exponents of the envelope are fitted and compared with the theory.

        adana plrf frontier

        adana plrf frontier --beta 1.3               phase III, where not all is confirmed

        adana plrf frontier --alpha 0.4 --beta 0.2   below the line: all algorithms alike
    """

    alpha: float = 1.0
    """How fast the features' scales fall: the j-th is j^-alpha."""
    beta: float = 0.3
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    smallest: int = 100
    """Smallest d; four times as many hidden inputs."""
    largest: int = 1_000_000
    """Largest d; three sizes in a factor of ten."""
    compute: float = 1e13
    """Largest compute d B t."""
    batch: int = 1
    """Samples a step."""
    gain: float = GAIN
    """Constant c of DANA's momentum step."""
    delta: float = DELTA
    """Memory: the newest gradient weighs delta / (delta + t)."""


def frontier_command(arguments: PlotFrontier) -> int:
    """Run `adana plrf frontier`; return the exit code."""
    a = arguments
    return carry_out(
        "frontier",
        lambda progress: frontier_experiment(
            a.alpha,
            a.beta,
            smallest=a.smallest,
            largest=a.largest,
            most_compute=a.compute,
            batch=a.batch,
            gain=a.gain,
            delta=a.delta,
            progress=progress,
        ),
        arguments,
    )
