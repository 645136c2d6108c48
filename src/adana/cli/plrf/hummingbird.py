"""`adana plrf hummingbird`: how much damping matters to each optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from adana.cli.plrf.common import OutputFlags, Whole, carry_out
from adana.plrf.experiments.hummingbird import KAPPAS, RATES, hummingbird_experiment
from adana.plrf.hummingbird import OPTIMIZERS


@dataclass(frozen=True)
class PlotHummingbird(OutputFlags):
    """Train a mixture of experts with every optimizer and damping, and see whose curves spread.

    The optimizers are the library's own: ADana, Dana-MK4, Dana-Star, Dana-Star-MK4, AdEMAMix, and
    Adam as the baseline; each curve is at the best of four learning rates. With 64 experts this
    takes four minutes on 2 busy cores.

        adana plrf hummingbird

        adana plrf hummingbird --experts 1   no sparsity: what damping does to plain features

        adana plrf hummingbird --optimizers ADana Dana-Star-MK4 --kappas 0 0.5 1   faster
    """

    alpha: float = 1.0
    """How fast the features' scales fall: the j-th is j^-alpha."""
    beta: float = 0.0
    """How fast the target's weights fall: j^-beta. Needs 2 alpha + 2 beta > 1."""
    dimension: Whole = 100
    """Parameters of each expert."""
    experts: int = 64
    """Experts; 1: none, all samples train the same parameters."""
    exponent: float = 1.0
    """Samples go to expert i with a probability like i^-exponent."""
    batch: int = 32
    """Samples a step, over all experts."""
    steps: Whole = 3000
    """Steps."""
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    """Which to train."""
    kappas: tuple[float, ...] = KAPPAS
    """Damping exponents."""
    lr: tuple[float, ...] = RATES
    """Learning rates; the best one of each curve is shown."""
    runs: int = 1
    """Runs of each."""
    seed: int = 0
    """Of the problem and the samples."""


def hummingbird_command(arguments: PlotHummingbird) -> int:
    """Run `adana plrf hummingbird`; return the exit code."""
    a = arguments
    return carry_out(
        "hummingbird",
        lambda progress: hummingbird_experiment(
            a.alpha,
            a.beta,
            dimension=a.dimension,
            experts=a.experts,
            exponent=a.exponent,
            batch=a.batch,
            total_steps=a.steps,
            optimizers=a.optimizers,
            kappas=a.kappas,
            rates=a.lr,
            runs=a.runs,
            seed=a.seed,
            progress=progress,
        ),
        arguments,
    )
