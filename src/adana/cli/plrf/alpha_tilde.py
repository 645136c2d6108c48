"""`adana plrf alpha-tilde`: how strong the momentum should be at each horizon."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import ProblemFlags, Whole, carry_out, defaults
from adana.plrf.experiments.alpha_tilde import alpha_tilde_experiment

OWN = defaults(alpha_tilde_experiment)


@dataclass(frozen=True)
class PlotAlphaTilde(ProblemFlags):
    """Sweep a momentum multiplier that grows straight, a (1 + t), and find the best a for each T.

    Nothing here knows of kappa. If the best a falls like T^-kappa, then at every horizon the best
    multiplier reaches (1 + T)^(1 - kappa): the schedule of ADana is the envelope of the best
    straight ones. Theory: kappa = 1/(2 alpha), and the best a grows with the batch.
        adana plrf alpha-tilde
        adana plrf alpha-tilde --alpha 0.8 --batches 1 4 16
    """

    batches: tuple[int, ...] = OWN.batches
    """Samples a step: a sweep for each."""
    steps: Whole = OWN.total_steps
    """The longest horizon T; the others lie half a power of ten apart, from 1000."""
    delta: float = OWN.delta
    """Memory: the newest gradient weighs delta / (delta + t)."""


def alpha_tilde_command(arguments: PlotAlphaTilde) -> int:
    """Run `adana plrf alpha-tilde`; return the exit code."""
    return carry_out("alpha-tilde", alpha_tilde_experiment, arguments, steps="total_steps")
