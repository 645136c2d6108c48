"""When a method is stable: the gain of its own noise, and the bounds that follow from it.

The noise of a step is proportional to the risk, and feeds back into the risk of later steps. With
the schedules frozen at one time the total of that feedback is the noise gain F: the risk settles
at `P_inf / (1 - F)` if F < 1 and grows without bound otherwise. Source: spec/plrf.md section 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq

from adana.checks import check_range
from adana.plrf.moments import U_SQUARED, U_Y, Y_SQUARED, moment_change
from adana.plrf.momentum import Momentum
from adana.plrf.spectrum import Spectrum


def noise_gain(spectrum: Spectrum, method: Momentum, *, batch: float, steps: Any) -> np.ndarray:
    """Return the frozen noise gain F at `steps`, a number or an array of any shape.

    `F = sum_k counts_k eigenvalues_k q_k`, where q is the mean square distance that steady noise
    of unit risk keeps up. Infinite where the method is unstable even without noise from others:
    where the map of some eigenvalue has a spectral radius of 1 or more. Below 1 at all times is
    the criterion of stability: exact for constant schedules, and a good guess for those that change
    slowly, which may survive a while above 1. Steps of 0 have no noise: F = 0. Raises `ValueError`
    for a batch that is not positive.
    """
    felt = spectrum.eigenvalues > 0
    at = method.at(steps)
    still = (at.gamma2 == 0) & (at.gamma3 * np.maximum(at.gamma1, 1 - at.forget) == 0)
    step = moment_change(at, spectrum.eigenvalues[felt], batch)
    change = np.moveaxis(step.change, (0, 1), (-2, -1))
    change = np.where(still[..., None, None, None], -np.eye(3), change)
    kept_up = np.linalg.solve(-change, np.moveaxis(step.noise, 0, -1)[..., None])[..., 0]
    gain = kept_up[..., U_SQUARED] @ (spectrum.counts * spectrum.eigenvalues)[felt]
    return np.where(still, 0.0, np.where(_contracts(change).all(axis=-1), gain, np.inf))


def _contracts(change: np.ndarray) -> np.ndarray:
    """Say of each map, (..., 3, 3), whether the spectral radius of `I + change` is below 1.

    The maps take covariances of (u, y) to covariances, so the radius is below 1 exactly where a
    steady positive input keeps up a positive definite one (Stein's theorem). Unlike eigenvalues,
    this can tell 1 - 1e-18 from 1.
    """
    steady = np.linalg.solve(-change, np.array([1.0, 1.0, 0.0])[:, None])[..., 0]
    u, y, both = (steady[..., i] for i in (U_SQUARED, Y_SQUARED, U_Y))
    return (u > 0) & (y > 0) & (u * y > both**2)


def stationary_risk(
    spectrum: Spectrum, method: Momentum, *, batch: float, step: float = 0.0
) -> float:
    """Return the risk `P_inf / (1 - F)` where the schedules of `step` would settle.

    Infinite if they are unstable.
    """
    gain = float(noise_gain(spectrum, method, batch=batch, steps=step))
    return spectrum.floor / (1 - gain) if gain < 1 else float("inf")


def gain_crossing(
    spectrum: Spectrum, method: Momentum, *, batch: float, total_steps: float
) -> float:
    """Return the first time at which the noise gain reaches 1, infinite if not by `total_steps`.

    `total_steps >= 1`. Found on ten times a decade and refined to a thousandth.
    """
    check_range("total_steps", total_steps, low=1.0)
    decades = np.log10(total_steps)
    times = np.concatenate([[0.0], np.logspace(0, decades, int(np.ceil(10 * decades)) + 1)])
    unstable = noise_gain(spectrum, method, batch=batch, steps=times) >= 1
    if not unstable.any():
        return float("inf")
    first = int(unstable.argmax())
    if first == 0:
        return 0.0
    low, high = times[first - 1], times[first]
    while high > low * 1.001 + 1e-9:
        middle = np.sqrt(low * high) if low > 0 else high / 2
        if noise_gain(spectrum, method, batch=batch, steps=middle) >= 1:
            high = middle
        else:
            low = middle
    return float(high)


def sgd_threshold(spectrum: Spectrum, batch: float) -> float:
    """Return the step from which on SGD diverges: where its noise gain is 1.

    `sum_k g lambda_k / (2B - g lambda_k (B+1)) = 1`; `2 / lambda_1` for an infinite batch.
    """
    check_range("batch", batch, low=0.0, low_open=True, finite=False)
    limit = 2 / ((1 + 1 / batch) * spectrum.eigenvalues.max())

    def excess(fraction: float) -> float:
        x = fraction * limit * spectrum.eigenvalues
        return float(spectrum.counts @ (x / batch / (2 - x * (1 + 1 / batch)))) - 1

    last = 1 - 1e-12
    if excess(last) < 0:  # batches so large that only the fastest direction counts
        return float(limit)
    return float(limit * brentq(excess, 0.0, last, xtol=1e-15))


def effective_directions(spectrum: Spectrum, gamma2: Any, forget: Any) -> Any:
    """Return `N_eff = sum_k counts_k gamma2 lambda_k / (gamma2 lambda_k + forget)`.

    The number of directions learned within the memory `1/forget` of the momentum. The arguments
    are numbers or arrays of one shape, which is that of the result.
    """
    x = np.asarray(gamma2)[..., None] * spectrum.eigenvalues
    return (x / (x + np.asarray(forget)[..., None])) @ spectrum.counts


def momentum_bound(spectrum: Spectrum, method: Momentum, *, batch: float, steps: Any) -> Any:
    """Return the bound on `gamma1 gamma3 / gamma2` at `steps`: `(2B - gamma2 tr) / N_eff`.

    The noise gain below 1, for small coefficients. An upper bound in practice: with large steps or
    batches `lipschitz_bound` binds first, at early times. Infinite where gamma2 is 0.
    """
    at = method.at(steps)
    directions = effective_directions(spectrum, at.gamma2, at.forget)
    return (2 * batch - at.gamma2 * spectrum.trace) / directions


def lipschitz_bound(spectrum: Spectrum, method: Momentum, *, steps: Any) -> Any:
    """Return the bound on `gamma1 gamma3` at `steps` that holds at any batch.

    `(2 - gamma2 lambda_1)(2 - forget) / lambda_1`: the fastest direction must not oscillate.
    """
    at = method.at(steps)
    largest = spectrum.eigenvalues.max()
    return (2 - at.gamma2 * largest) * (2 - at.forget) / largest


def critical_value(
    diverges: Callable[[float], bool], low: float, high: float, *, tolerance: float = 0.01
) -> float:
    """Return the value between a stable `low` and a divergent `high` where divergence sets in.

    By bisection in the logarithm to a relative `tolerance`. `diverges` says of a value, such as the
    gain of a momentum, what the integrator's verdict on it is. Raises `ValueError` unless
    `0 < low < high`, and where `low` diverges or `high` does not.
    """
    check_range("low", low, low=0.0, low_open=True)
    check_range("high", high, low=low, low_open=True)
    if diverges(low):
        raise ValueError(f"low must be stable, but {low!r} diverges: start lower")
    if not diverges(high):
        raise ValueError(f"high must diverge, but {high!r} is stable: start higher")
    while high > low * (1 + tolerance):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if diverges(middle) else (middle, high)
    return float(np.sqrt(low * high))
