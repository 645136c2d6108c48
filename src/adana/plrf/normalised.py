"""Adaptive methods in expectation: steps divided by the size of the gradient.

On this model the coordinates of the parameters are statistically alike, so to first approximation
ADana divides every entry of its step by one number, the root mean square G of a gradient's entries.
That makes it a momentum method with `gamma2` and `gamma3` over `G(t)`, in the recursion of
`adana.plrf.moments`. It ignores how the second moments spread over coordinates and lag behind:
within 5 to 10 % of simulated ADana from step 300 on. Source: spec/plrf.md sections 9.2 and 13.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import root_scalar

from adana.checks import check_choice, check_integer, check_range
from adana.plrf.blocks import advance, block_lengths, block_map
from adana.plrf.curve import RiskCurve
from adana.plrf.follow import Advance, follow
from adana.plrf.moments import (
    U_SQUARED,
    moment_change,
    twice_risk,
)
from adana.plrf.momentum import Momentum
from adana.plrf.spectrum import Spectrum
from adana.schedules import DELTA, damping, ema_weight

IMPLICIT = 2 / 3
"""Weight of the end of a block in its G: above 1/2, or G would oscillate where blocks are long."""
TOLERANCE = 1e-7
"""How well the logarithm of a block's G agrees with the risk it leads to."""


def normalised_adana(
    rate: float, kappa: float, *, delta: float = DELTA, plus_average: bool = False
) -> Momentum:
    """ADana's schedules on steps that count from 1: use with `integrate_normalised`.

    `gamma1 = forget = delta/(delta+s)`, `gamma2 = rate` and `gamma3 = rate (1+s)^(1-kappa)` with
    `s = t + 1`. `plus_average` adds the plain average once more, `(1+s)^(1-kappa) + 1`, as the
    authors' released code does (spec/plrf.md section 9.1).
    """
    check_range("rate", rate, low=0.0)

    def memory(t: np.ndarray) -> np.ndarray:
        return ema_weight(t + 1, delta)

    def average_step(t: np.ndarray) -> np.ndarray:
        return rate * (damping(t + 1, kappa) + float(plus_average))

    return Momentum(
        "ADana", memory, lambda t: np.full(np.shape(t), float(rate)), average_step, memory
    )


def gradient_scale(spectrum: Spectrum, state: np.ndarray, batch: float) -> float:
    """Return the root mean square entry of a batch's gradient, over the d parameters.

    `G^2 = (2P tr + (B+1) sum_k counts_k lambda_k^2 E u_k^2) / (B d)`.
    """
    signal = spectrum.counts * spectrum.eigenvalues**2 @ state[U_SQUARED]
    noise = twice_risk(spectrum, state) * spectrum.trace
    return float(np.sqrt((noise / batch + (1 + 1 / batch) * signal) / spectrum.dimension))


def integrate_normalised(
    spectrum: Spectrum,
    method: Momentum,
    *,
    batch: float,
    total_steps: int,
    scale: str = "gradient",
    block: float = 0.05,
) -> RiskCurve:
    """Return the expected risk of `method` with `gamma2` and `gamma3` divided by `G(t)`.

    `scale` is what G is: "gradient", the root mean square entry of the gradient as in Adam, or
    "risk", `sqrt(2P)`, the cruder choice of the research code. Blocks are as in `integrate`; the G
    of a block is made consistent with the risk at its end. Against the update with a new G each
    step that keeps errors below 1.5 % (0.1 % for `block = 0.01`) at small rates, such as 1e-3. At
    ten times that the update itself can cycle, risk and G chasing each other: blocks run through
    the middle, by 30 to 50 % (in between by a multiple) whatever their length, and nothing says so.
    Raises as `integrate` does.
    """
    check_integer("total_steps", total_steps, low=1)
    check_choice("scale", scale, ("gradient", "risk"))

    def size(state: np.ndarray) -> float:
        if scale == "risk":
            return float(np.sqrt(twice_risk(spectrum, state)))
        return gradient_scale(spectrum, state, batch)

    def advances() -> Iterator[tuple[float, Advance]]:
        start = 0
        for length in block_lengths(total_steps, block):
            steps = _Steps(spectrum, method, batch, start, length, size)
            start += length
            yield start, steps.advance

    return follow(spectrum, method.name, advances())


@dataclass(frozen=True)
class _Steps:
    """A block of steps, all divided by one G."""

    spectrum: Spectrum
    method: Momentum
    batch: float
    start: int
    length: int
    size: Callable[[np.ndarray], float]

    def advance(self, state: np.ndarray, risk: float) -> tuple[np.ndarray, float]:
        """Return the state and 2P after the block, divided by a G between those of its ends."""
        before = float(np.log(self.size(state)))
        if self.length == 1:
            return self._divided(before, state, risk)

        def excess(log_size: float) -> float:
            after, _ = self._divided(log_size, state, risk)
            end = float(np.log(self.size(after)))
            if not np.isfinite(end):  # steps so large that the block leads beyond all numbers
                end = before + 100
            return log_size - (1 - IMPLICIT) * before - IMPLICIT * end

        # the larger G, the smaller the risk it leads to: there is one root
        found = root_scalar(excess, x0=before, x1=before - 1e-3, xtol=TOLERANCE, maxiter=8)
        if not (found.converged and abs(found.root - before) < 1):
            width = 0.01
            while excess(before - width) > 0 or excess(before + width) < 0:
                width *= 4
            ends = (before - width, before + width)
            found = root_scalar(excess, bracket=ends, xtol=TOLERANCE)
        return self._divided(found.root, state, risk)

    def _divided(self, log_size: float, state: np.ndarray, risk: float) -> tuple[np.ndarray, float]:
        middle = self.method.at(self.start + (self.length - 1) / 2)
        size = np.exp(log_size)
        divided = replace(middle, gamma2=middle.gamma2 / size, gamma3=middle.gamma3 / size)
        step = moment_change(divided, self.spectrum.eigenvalues, self.batch)
        return advance(
            self.spectrum, block_map(step.propagator(), step.noise, self.length), state, risk
        )
