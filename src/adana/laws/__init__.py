"""What losses say about compute: pure functions of numbers, no files and no training.

One module a question. `multiplier`: how much compute does this optimizer save, at one horizon?
`loss_law`: which law do the losses of several optimizers follow, and what of it do the runs fix?
`multiplier_curve`: how much compute does it save over sizes, by two estimators?
"""

from adana.laws.curves import Curve
from adana.laws.law_problem import TooFewSizesError
from adana.laws.loss_law import LawFit, LossLaw, fit_loss_laws
from adana.laws.multiplier import (
    Multiplier,
    Observation,
    compute_multiplier,
    mean_and_standard_error,
    pooled_variance,
    steps_to_reach,
)
from adana.laws.multiplier_curve import (
    MultiplierCurve,
    fitted_multiplier,
    piecewise_multiplier,
)
from adana.laws.size_noise import seed_noise

__all__ = [
    "Curve",
    "LawFit",
    "LossLaw",
    "Multiplier",
    "MultiplierCurve",
    "Observation",
    "TooFewSizesError",
    "compute_multiplier",
    "fit_loss_laws",
    "fitted_multiplier",
    "mean_and_standard_error",
    "piecewise_multiplier",
    "pooled_variance",
    "seed_noise",
    "steps_to_reach",
]
