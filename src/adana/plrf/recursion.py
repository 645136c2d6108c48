"""The exact recursion of the expected risk, step by step: the ground truth of the other methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from adana.plrf.curve import RiskCurve
from adana.plrf.moments import (
    BLOW_UP,
    apply,
    buffer_square,
    moment_change,
    start_state,
    steps_together,
    twice_risk,
)
from adana.plrf.momentum import Momentum
from adana.plrf.spectrum import Spectrum


def exact_moments(
    spectrum: Spectrum, method: Momentum, *, batch: float, steps: Sequence[int] | np.ndarray
) -> RiskCurve:
    """Return the expected risk at `steps`, exact for Gaussian features with this spectrum.

    `steps` are increasing integers from 0 on; `batch` is the number of samples of a gradient and
    may be infinite. A step costs some 40 to 150 microseconds with 250 eigenvalues.
    Raises `ValueError` for other steps or batches. Source: spec/plrf.md section 3.
    """
    wanted = check_steps(steps)
    state = start_state(spectrum)
    limit = BLOW_UP * 2 * spectrum.start
    rows: list[tuple[int, float, float]] = []
    diverged = False
    with np.errstate(over="ignore", invalid="ignore"):
        for step, propagator, noise in _maps(spectrum, method, batch, int(wanted[-1]) + 1):
            risk = twice_risk(spectrum, state)
            if step == wanted[len(rows)] and np.isfinite(risk):
                rows.append((step, risk / 2, buffer_square(spectrum, state)))
            if not risk <= limit:
                diverged = True
                break
            state = apply(propagator, state) + risk * noise
    recorded = np.reshape(rows, (-1, 3))
    return RiskCurve(
        method.name, recorded[:, 0].astype(np.int64), recorded[:, 1], recorded[:, 2], diverged
    )


def check_steps(steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return `steps` as an integer array; `ValueError` unless they increase from 0 or later."""
    wanted = np.asarray(steps)
    whole = wanted.ndim == 1 and wanted.size > 0 and np.issubdtype(wanted.dtype, np.integer)
    if not whole or wanted[0] < 0 or (np.diff(wanted) <= 0).any():
        raise ValueError(
            f"steps must be increasing integers, the first at least 0, got {steps!r}; "
            "adana.plrf.curve.log_steps makes some"
        )
    return wanted.astype(np.int64)


def _maps(
    spectrum: Spectrum, method: Momentum, batch: float, total_steps: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each step with its A and G, computed in chunks."""
    size = steps_together(spectrum)
    for first in range(0, total_steps, size):
        chunk = range(first, min(first + size, total_steps))
        at = method.at(np.arange(chunk.start, chunk.stop))
        changes = moment_change(at, spectrum.eigenvalues, batch)
        propagator = changes.propagator()
        for i, step in enumerate(chunk):
            yield step, propagator[:, :, i], changes.noise[:, i]
