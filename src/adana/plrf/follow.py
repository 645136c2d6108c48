"""Following the moments from the start to the end of training or to divergence."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from adana.plrf.curve import RiskCurve
from adana.plrf.moments import BLOW_UP, buffer_square, start_state
from adana.plrf.spectrum import Spectrum

Advance = Callable[[np.ndarray, float], tuple[np.ndarray, float]]
"""Some steps: from the state and 2P before them to those after them."""


def follow(spectrum: Spectrum, name: str, advances: Iterable[tuple[float, Advance]]) -> RiskCurve:
    """Return the risks from the start on, after each of `advances`, given with its time.

    The curve is marked `diverged`, and ends, once the risk is negative, not finite or `BLOW_UP`
    times its start.
    """
    state = start_state(spectrum)
    risk = 2 * spectrum.start
    limit = BLOW_UP * risk
    times: list[float] = [0]
    rows = [(risk / 2, 0.0)]
    diverged = False
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for time, advance in advances:
            state, risk = advance(state, risk)
            diverged = not 0 <= risk <= limit
            if 0 <= risk < np.inf:
                times.append(time)
                rows.append((risk / 2, buffer_square(spectrum, state)))
            if diverged:
                break
    risks, buffers = np.transpose(rows)
    return RiskCurve(name, np.array(times), risks, buffers, diverged)
