"""The methods that experiments compare, with steps of comparable size."""

from __future__ import annotations

from collections.abc import Sequence

from adana.checks import check_range
from adana.plrf.momentum import (
    GAIN,
    Momentum,
    dana_constant,
    dana_decaying,
    schedule_free,
    sgd,
    sgd_momentum,
    spectral_kappa,
)
from adana.schedules import DELTA

METHODS = ("SGD", "SGD-M", "Schedule-Free SGD", "DANA-constant", "DANA-decaying")


def compared_methods(
    alpha: float,
    step: float,
    dimension: int,
    names: Sequence[str] = METHODS,
    *,
    gain: float = GAIN,
    delta: float = DELTA,
) -> list[Momentum]:
    """Return the methods of these names, for the step `gamma2 = step` of SGD.

    SGD-M splits it between step and momentum as the spec's checks do (section 13.4), Schedule-Free
    SGD takes twice the step (section 13.8), and DANA-decaying `kappa = min(1, 1/(2 alpha))`.

    Raises `ValueError` for a step, gain or delta out of range.
    """
    check_range("gain", gain, low=0.0)
    all_of_them = (
        sgd(step),
        sgd_momentum(step / 2, 0.05 * step),
        schedule_free(2 * step),
        dana_constant(step, dimension, gain=gain, delta=delta),
        dana_decaying(step, spectral_kappa(alpha), gain=gain, delta=delta),
    )
    return [method for method in all_of_them if method.name in names]
