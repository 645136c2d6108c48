"""The hummingbird: how much the damping exponent matters to each optimizer on a mixture of experts.

Every optimizer is run for every kappa and several learning rates; the best rate of each is kept, as
adaptive methods have a noise floor set by it (spec/plrf.md sections 9.3 and 12, figure 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from adana.optim import ADana, AdEMAMix, DanaMK4, DanaStar, DanaStarMK4
from adana.plrf.adaptive import MakeOptimizer
from adana.plrf.mixture import simulate_mixture
from adana.plrf.problem import DrawnProblem
from adana.plrf.simulation import Progress

BASELINE = "Adam"
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "ADana": partial(ADana, variant="released"),
    "Dana-MK4": DanaMK4,
    "Dana-Star": partial(DanaStar, variant="released"),
    "Dana-Star-MK4": DanaStarMK4,
    "AdEMAMix": AdEMAMix,
}
"""The paper's; ADana and Dana-Star as released, where m is added once more without growth."""


@dataclass(frozen=True)
class Hummingbird:
    """Risks of the mixture, each at the learning rate that was best at the last step.

    `risk` has shape (optimizers, kappas, steps) and `rates` (optimizers, kappas); `baseline` has
    shape (steps,) and `baseline_rate` is its rate. Means over runs. NaN where no rate was finite.
    """

    optimizers: tuple[str, ...]
    kappas: np.ndarray
    steps: np.ndarray
    risk: np.ndarray
    rates: np.ndarray
    baseline: np.ndarray
    baseline_rate: float


def hummingbird(
    problem: DrawnProblem,
    probabilities: np.ndarray,
    *,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
    kappas: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    rates: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2),
    batch: int = 32,
    total_steps: int = 3000,
    runs: int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: Sequence[int] | np.ndarray | None = None,
    progress: Progress | None = None,
) -> Hummingbird:
    """Train the mixture with every optimizer, kappa and learning rate, and Adam as the baseline.

    All see the same batches. `optimizers` are names of `OPTIMIZERS`; other arguments as for
    `adana.plrf.mixture.simulate_mixture`. Of one seed only the order of curves is to be trusted.
    Raises `ValueError` for unknown names, and kappas or rates that are none or not different.
    """
    unknown = sorted(set(optimizers) - set(OPTIMIZERS))
    if unknown:
        raise ValueError(f"unknown optimizer {unknown[0]!r}; the choice is {', '.join(OPTIMIZERS)}")
    for what, values in (("kappas", kappas), ("rates", rates)):
        if not len(values) or len(set(values)) < len(values):
            raise ValueError(f"{what} must be different numbers, at least one, got {values!r}")
    makers: dict[str, MakeOptimizer] = {
        f"{name} {kappa} {rate}": partial(_make, name, total_steps, kappa=kappa, lr=rate)
        for name in optimizers
        for kappa in kappas
        for rate in rates
    }
    adam = partial(torch.optim.Adam, foreach=False)
    makers |= {f"{BASELINE} {rate}": partial(adam, lr=rate) for rate in rates}
    found = simulate_mixture(
        problem,
        makers,
        probabilities,
        batch=batch,
        total_steps=total_steps,
        runs=runs,
        seed=seed,
        device=device,
        steps=steps,
        progress=progress,
    )
    risk = found.total().mean().reshape(-1, len(rates), len(found.steps))
    best = np.argmin(np.where(np.isnan(risk[..., -1]), np.inf, risk[..., -1]), axis=1)
    kept = risk[np.arange(len(risk)), best]
    chosen = np.asarray(rates)[best]
    shape = (len(optimizers), len(kappas))
    return Hummingbird(
        tuple(optimizers),
        np.asarray(kappas),
        found.steps,
        kept[:-1].reshape(*shape, -1),
        chosen[:-1].reshape(shape),
        kept[-1],
        float(chosen[-1]),
    )


def _make(
    name: str, total_steps: int, params: list[torch.nn.Parameter], **given: Any
) -> torch.optim.Optimizer:
    horizon = {"total_steps": total_steps} if name == "AdEMAMix" else {}
    return OPTIMIZERS[name](params, omega=0.0, foreach=False, **horizon, **given)
