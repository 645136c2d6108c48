"""`adana plrf hummingbird`: how much damping matters to each optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import MixtureFlags, Whole, carry_out, defaults
from adana.plrf.experiments.hummingbird import hummingbird_experiment

OWN = defaults(hummingbird_experiment)


@dataclass(frozen=True)
class PlotHummingbird(MixtureFlags):
    """Train a mixture of experts with every optimizer and damping, and see whose curves spread.

    The optimizers are the library's own: ADana, Dana-MK4, Dana-Star, Dana-Star-MK4, AdEMAMix, and
    Adam as the baseline; each curve is at the best of four learning rates. With 64 experts this
    takes five minutes on 2 busy cores.
        adana plrf hummingbird
        adana plrf hummingbird --experts 1   no sparsity: what damping does to plain features
        adana plrf hummingbird --optimizers ADana Dana-Star-MK4 --kappas 0 0.5 1   faster
    """

    steps: Whole = OWN.total_steps
    """Steps."""
    optimizers: tuple[str, ...] = OWN.optimizers
    """Which to train."""
    kappas: tuple[float, ...] = OWN.kappas
    """Damping exponents."""
    lr: tuple[float, ...] = OWN.rates
    """Learning rates; the best one of each curve is shown."""
    runs: int = OWN.runs
    """Runs of each."""
    seed: int = OWN.seed
    """Of the problem and the samples."""


def hummingbird_command(arguments: PlotHummingbird) -> int:
    """Run `adana plrf hummingbird`; return the exit code."""
    return carry_out(
        "hummingbird", hummingbird_experiment, arguments, steps="total_steps", lr="rates"
    )
