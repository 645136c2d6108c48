"""`adana plrf tau`: what the Star optimizers' activity estimate becomes."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import MixtureFlags, Whole, carry_out, defaults
from adana.plrf.experiments.tau import tau_experiment

OWN = defaults(tau_experiment)


@dataclass(frozen=True)
class PlotTau(MixtureFlags):
    """Draw how Dana-Star's estimate tau finds out which weights are trained often and which rarely.

    A mixture of experts is trained in which samples go to expert i with a probability like 1/i.
        adana plrf tau
        adana plrf tau --experts 256 --exponent 1.5   more and rarer experts
    """

    steps: Whole = OWN.total_steps
    """Steps; tau is looked at after 1000, 2000, 4000, ..."""
    lr: float = OWN.lr
    """Learning rate."""
    seed: int = OWN.seed
    """Of the problem and the samples."""


def tau_command(arguments: PlotTau) -> int:
    """Run `adana plrf tau`; return the exit code."""
    return carry_out("tau", tau_experiment, arguments, steps="total_steps")
