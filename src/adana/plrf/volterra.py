"""The expected risk as a Volterra equation: what is left to learn, and the noise of past risks.

    2P(t) = F(t) + sum_{s<t} K(t, s) 2P(s)

The forcing F is the risk without gradient noise from others' errors; the kernel K(t, s) is what the
noise of step s, at unit risk, still adds at t. Both grow from one propagator, over blocks of steps
as in `adana.plrf.blocks`; the equation has the same solution as there. Source: spec/plrf.md
section 4.2, with the power laws at the end of this file (that of the learned directions is
`adana.plrf.clocks.leading_risk`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from scipy.special import gamma

from adana.checks import check_integer, check_range
from adana.plrf.blocks import block_lengths, block_maps
from adana.plrf.moments import apply, moment_change, start_state, twice_risk
from adana.plrf.momentum import Momentum
from adana.plrf.spectrum import Spectrum


@dataclass(frozen=True)
class Volterra:
    """The equation at m ends of blocks: `steps` and `twice_forcing` (m,), `weights` (m, m).

    `weights[i, j]` is what the noise around step `steps[j]` adds to 2P at `steps[i]`, per unit of
    2P at `steps[j]`: the kernel summed over steps, the risk between ends being a straight line.
    """

    steps: np.ndarray
    twice_forcing: np.ndarray
    weights: np.ndarray

    def twice_risk(self) -> np.ndarray:
        """Solve the equation: 2P at `steps`, shape (m,)."""
        system = np.eye(len(self.steps)) - self.weights
        return solve_triangular(system, self.twice_forcing, lower=True)


def volterra(
    spectrum: Spectrum, method: Momentum, *, batch: float, total_steps: int, block: float = 0.05
) -> Volterra:
    """Return the Volterra equation on a logarithmic grid of steps from 0 to `total_steps`.

    Takes under a second for 1e8 steps. Arguments and errors are those of `integrate`. Raises
    `ValueError` where the method is so unstable that the numbers overflow.
    """
    check_integer("total_steps", total_steps, low=1)
    lengths = block_lengths(total_steps, block)
    weigh = spectrum.counts * spectrum.eigenvalues
    state = start_state(spectrum)
    responses = np.zeros((3, len(lengths) + 1, spectrum.eigenvalues.size))
    forcing = [twice_risk(spectrum, state)]
    weights = np.zeros((len(lengths) + 1, len(lengths) + 1))
    for i, (_, steps) in enumerate(block_maps(spectrum, method, batch, lengths)):
        past = responses[:, : i + 1]
        past[:] = apply(steps.propagator[:, :, None], past)
        past[:, i] += steps.first
        responses[:, i + 1] = steps.last
        state = apply(steps.propagator, state)
        forcing.append(twice_risk(spectrum, state))
        weights[i + 1, : i + 2] = responses[0, : i + 2] @ weigh
        _check_finite(forcing[-1] + weights[i + 1].sum(), method, sum(lengths[: i + 1]))
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return Volterra(ends, np.array(forcing), weights)


def kernel(
    spectrum: Spectrum,
    method: Momentum,
    *,
    batch: float,
    source: int,
    total_steps: int,
    block: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """Return steps t from `source + 1` to `total_steps` and `K(t, source)` there.

    The steps are evenly spaced in the logarithm of the time since `source`.
    Raises `ValueError` unless `0 <= source < total_steps`, and as `volterra` does.
    """
    check_integer("source", source, low=0)
    check_integer("total_steps", total_steps, low=source + 1)
    weigh = spectrum.counts * spectrum.eigenvalues
    state = moment_change(method.at(source), spectrum.eigenvalues, batch).noise
    steps, values = [source + 1], [float(weigh @ state[0])]
    lengths = block_lengths(total_steps - source - 1, block)
    for end, maps in block_maps(spectrum, method, batch, lengths, start=source + 1):
        state = apply(maps.propagator, state)
        steps.append(end)
        values.append(float(weigh @ state[0]))
        _check_finite(values[-1], method, end)
    return np.array(steps), np.array(values)


def _check_finite(value: float, method: Momentum, step: int) -> None:
    if not np.isfinite(value):
        raise ValueError(f"{method.name} diverges by step {step}: ask for fewer steps")


def twice_distortion_law(
    alpha: float, target_norm: float, dimension: float, theta: ArrayLike
) -> np.ndarray:
    """Return the part of 2P from the distortion of the target by the embedding, `F_ac`.

    `c_beta / d Gamma(1-x) / (2 alpha) theta^(x-1)`, `x = 1/(2 alpha)`, with the clock `theta` of
    `adana.plrf.clocks` (`2 gamma2 t` for SGD) and `target_norm` `c_beta = sum_j j^(-2 beta)`.
    Holds for `beta > 1/2`, until the smallest eigenvalues are learned. Raises `ValueError` unless
    `alpha > 1/2`.
    """
    check_range("alpha", alpha, low=0.5, low_open=True)
    x = 1 / (2 * alpha)
    power = np.asarray(theta, dtype=np.float64) ** (x - 1)
    return target_norm / dimension * gamma(1 - x) / (2 * alpha) * power


def kernel_law(alpha: float, step: float, batch: float, elapsed: ArrayLike) -> np.ndarray:
    """Return SGD's kernel `elapsed >= 1` steps later, `(g^2/B) Gamma(2-x)/(2 alpha) (2 g t)^(x-2)`.

    With `x = 1/(2 alpha)`. Raises `ValueError` unless `alpha > 1/4`.
    """
    check_range("alpha", alpha, low=0.25, low_open=True)
    x = 1 / (2 * alpha)
    power = (2 * step * np.asarray(elapsed, dtype=np.float64)) ** (x - 2)
    return step**2 / batch * gamma(2 - x) / (2 * alpha) * power
