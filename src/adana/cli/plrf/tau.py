"""`adana plrf tau`: what the Star optimizers' activity estimate becomes."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out
from adana.plrf.experiments.tau import tau_experiment


@dataclass(frozen=True)
class PlotTau(OutputFlags):
    """Draw how Dana-Star's estimate tau finds out which weights are trained often and which rarely.

    A mixture of experts is trained in which samples go to expert i with a probability like 1/i.

        adana plrf tau

        adana plrf tau --experts 256 --exponent 1.5   more and rarer experts
    """

    alpha: float = 1.0
    """How fast the features' scales fall: the j-th is j^-alpha."""
    beta: float = 0.0
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = 100
    """Parameters of each expert."""
    experts: int = 64
    """Experts."""
    exponent: float = 1.0
    """Samples go to expert i with a probability like i^-exponent."""
    batch: int = 32
    """Samples a step, over all experts."""
    steps: Whole = 8000
    """Steps; tau is looked at after 1000, 2000, 4000, ..."""
    lr: float = 3e-3
    """Learning rate."""
    seed: int = 0
    """Of the problem and the samples."""


def tau_command(arguments: PlotTau) -> int:
    """Run `adana plrf tau`; return the exit code."""
    a = arguments
    return carry_out(
        "tau",
        lambda progress: tau_experiment(
            a.alpha,
            a.beta,
            dimension=a.dimension,
            experts=a.experts,
            exponent=a.exponent,
            batch=a.batch,
            total_steps=a.steps,
            lr=a.lr,
            seed=a.seed,
            progress=progress,
        ),
        arguments,
    )
