"""`adana plrf kappa`: which damping is best."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import BatchFlags, Whole, carry_out, defaults
from adana.plrf.experiments.kappa import kappa_experiment

OWN = defaults(kappa_experiment)


@dataclass(frozen=True)
class PlotKappa(BatchFlags):
    """Draw the risk after T steps against the damping kappa, for T from a thousand to ten million.

    The momentum step is c gamma2 (1 + t)^-kappa. Theory: the best kappa tends to 1/(2 alpha), the
    growth exponent of the number of directions already learned; less damping diverges, kappa = 1 is
    as slow as SGD.
        adana plrf kappa
        adana plrf kappa --alpha 0.8 --gain 0.25   a weaker momentum wants less damping
    """

    steps: Whole = OWN.total_steps
    """The longest horizon T; the others are the powers of ten below it, from 1000."""
    gain: float = OWN.gain
    """Constant c of the momentum step."""
    delta: float = OWN.delta
    """Memory: the newest gradient weighs delta / (delta + t)."""
    spacing: float = OWN.spacing
    """Distance between the values of kappa, which go from 0 to 1.2."""


def kappa_command(arguments: PlotKappa) -> int:
    """Run `adana plrf kappa`; return the exit code."""
    return carry_out("kappa", kappa_experiment, arguments, steps="total_steps")
