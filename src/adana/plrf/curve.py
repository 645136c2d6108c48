"""Risk against steps: what predictions and simulations return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adana.checks import check_integer


@dataclass(frozen=True, eq=False)
class RiskCurve:
    """Expected risk of one method at some steps, all arrays of shape (steps,).

    `risk[i]` is P before step `steps[i]` (so `steps = 0` is the start); `buffer[i]` is the expected
    squared length of the momentum buffer then. Where the method diverges, `diverged` is True and
    the curve ends at the last step whose risk is finite.
    """

    name: str
    steps: np.ndarray
    risk: np.ndarray
    buffer: np.ndarray
    diverged: bool = False

    def at(self, step: ArrayLike) -> Any:
        """Return the risk at a step or an array of steps, a number or an array of its shape.

        Between recorded steps by a power law; NaN before the first and after the last.
        """
        wanted = np.asarray(step, dtype=np.float64)
        if not self.steps.size:
            return np.full(wanted.shape, np.nan)[()]
        first, last = self.steps[0], self.steps[-1]
        inside = np.clip(wanted, first, last)
        with np.errstate(divide="ignore"):  # a risk of 0
            found = np.exp(np.interp(np.log1p(inside), np.log1p(self.steps), np.log(self.risk)))
        return np.where((wanted >= first) & (wanted <= last), found, np.nan)[()]


@dataclass(frozen=True, eq=False)
class SimulatedRisk:
    """Risks of runs: `risk` has shape (methods, runs, steps), NaN once a run is not finite."""

    names: tuple[str, ...]
    steps: np.ndarray
    risk: np.ndarray

    def mean(self) -> np.ndarray:
        """Mean over runs, shape (methods, steps)."""
        return self.risk.mean(axis=1)

    def standard_error(self) -> np.ndarray:
        """Standard error of the mean over runs, shape (methods, steps); NaN with one run."""
        runs = self.risk.shape[1]
        if runs < 2:
            return np.full(self.mean().shape, np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # runs that diverge
            return self.risk.std(axis=1, ddof=1) / np.sqrt(runs)


def log_steps(total_steps: int, per_decade: int = 20) -> np.ndarray:
    """Return whole steps 0, 1, 2, ... spaced evenly in their logarithm, ending at `total_steps`."""
    check_integer("total_steps", total_steps, low=1)
    check_integer("per_decade", per_decade, low=1)
    decades = np.log10(total_steps)
    spaced = np.logspace(0, decades, int(np.ceil(decades * per_decade)) + 1)
    return np.unique(np.concatenate([[0], np.round(spaced), [total_steps]]).astype(np.int64))
