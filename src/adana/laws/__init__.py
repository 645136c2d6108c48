"""What losses say about compute: pure functions of numbers, no files and no training.

One module a question. `multiplier` answers "how much compute does this optimizer save?"; fits of
loss laws and learning-rate laws stand beside it as they are added.
"""

from adana.laws.multiplier import (
    Multiplier,
    Observation,
    compute_multiplier,
    mean_and_standard_error,
    pooled_variance,
    steps_to_reach,
)

__all__ = [
    "Multiplier",
    "Observation",
    "compute_multiplier",
    "mean_and_standard_error",
    "pooled_variance",
    "steps_to_reach",
]
