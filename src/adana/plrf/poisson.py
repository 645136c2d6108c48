"""The ordinary differential equation of the expected risk, as the papers integrate it.

Where steps arrive at the times of a Poisson process of unit rate, the moments obey

    dV/dt = (A_t - I) V + 2P G_t

the same map of a step as in `adana.plrf.moments`. The timing of the steps is the only difference
from the algorithm itself: up to a fifth of the risk around step 10, vanishing later. A reference to
compare with; `adana.plrf.blocks` is both closer and faster. Source: spec/plrf.md 4.1 and 6.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from adana.checks import check_range
from adana.plrf.blocks import BlockMap, advance
from adana.plrf.curve import RiskCurve
from adana.plrf.follow import follow
from adana.plrf.moments import apply, moment_change, steps_together
from adana.plrf.momentum import Momentum
from adana.plrf.spectrum import Spectrum


def solve_ode(
    spectrum: Spectrum,
    method: Momentum,
    *,
    batch: float,
    total_steps: float,
    spacing: float = 3e-3,
) -> RiskCurve:
    """Return the risk by implicit Euler on `spacing` in `log(1 + t)`, from t = 0 on.

    The curve's `steps` are times, not whole numbers. Diverges, and raises, as `integrate` does.
    """
    check_range("total_steps", total_steps, low=0.0, low_open=True)
    check_range("spacing", spacing, low=0.0, high=1.0, low_open=True)
    points = int(np.ceil(np.log1p(total_steps) / spacing))
    spacing = float(np.log1p(total_steps)) / points
    times = np.append(np.expm1(spacing * np.arange(1, points)), total_steps)
    maps = _maps(spectrum, method, batch, times, spacing)
    advances = ((time, partial(advance, spectrum, point)) for time, point in maps)
    return follow(spectrum, method.name, advances)


def _maps(
    spectrum: Spectrum, method: Momentum, batch: float, times: np.ndarray, spacing: float
) -> Iterator[tuple[float, BlockMap]]:
    """Yield each time with the solution of `V_new - V = length (change V_new + 2P_new noise)`.

    As a block whose noise comes with the risk at its end alone.
    """
    size = steps_together(spectrum)
    for chunk in (times[i : i + size] for i in range(0, len(times), size)):
        step = moment_change(method.at(chunk), spectrum.eigenvalues, batch)
        length = spacing * (1 + chunk)[:, None]
        system = np.eye(3) - np.moveaxis(length * step.change, (0, 1), (-2, -1))
        inverse = np.moveaxis(np.linalg.inv(system), (-2, -1), (0, 1))
        last = apply(inverse, length * step.noise)
        for i, time in enumerate(chunk):
            now = last[:, i]
            yield float(time), BlockMap(inverse[:, :, i], np.zeros_like(now), now)
