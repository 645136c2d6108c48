"""Muon's iteration and the size of its steps: one definition for torch and JAX.

The functions use nothing but operators, so that they take tensors, arrays and traced values.
Source: Muon as the reference uses it, spec/optimizers.md section 9.
"""

from __future__ import annotations

from typing import Any

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration."""
NS_STEPS = 5
"""Default number of Newton-Schulz iterations."""
NORM_EPS = 1e-7
"""Added to the Frobenius norm that a matrix is divided by before the iterations."""
RMS_SCALE = 0.2
"""Default factor of `sqrt(max(rows, columns))`, which makes a step about as large as AdamW's."""


def iterate(y: Any) -> Any:
    """Do one iteration on matrices (..., rows, columns), rows <= columns, singular values <= 1."""
    a, b, c = NS_COEFFICIENTS
    gram = y @ y.mT
    return a * y + (b * gram + c * gram @ gram) @ y


def step_size(rows: int, columns: int, rms_scale: Any = RMS_SCALE) -> Any:
    """Return the factor of an orthogonal matrix in a step, `rms_scale * sqrt(max(rows, columns))`.

    The entries of the step then have a root mean square of about `rms_scale`, whatever the shape.
    """
    return rms_scale * max(rows, columns) ** 0.5
