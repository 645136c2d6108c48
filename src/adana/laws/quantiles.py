"""Points and tails of the distributions that intervals and tests need.

As in `scipy.stats`, which takes as long to import as half of torch; the functions below it do not.
"""

from __future__ import annotations

import scipy


def normal_point(p: float) -> float:
    """Return the value that a standard normal variable is below with probability `p`."""
    return float(scipy.special.ndtri(p))


def normal_tail(x: float) -> float:
    """Return the probability that a standard normal variable exceeds `x`."""
    return float(scipy.special.ndtr(-x))


def student_point(p: float, freedom: float) -> float:
    """Return the value that Student's t is below with probability `p`."""
    return float(scipy.special.stdtrit(freedom, p))


def student_tail(x: float, freedom: float, shift: float = 0.0) -> float:
    """Return the probability that Student's t exceeds `x`; noncentral, with a `shift`."""
    if shift:
        return 1.0 - float(scipy.special.nctdtr(freedom, shift, x))
    return float(scipy.special.stdtr(freedom, -x))


def fisher_point(p: float, more: float, freedom: float) -> float:
    """Return the value that F, of `more` and `freedom` degrees, is below with probability `p`."""
    return float(scipy.special.fdtri(more, freedom, p))


def fisher_tail(x: float, more: float, freedom: float) -> float:
    """Return the probability that F, of `more` and `freedom` degrees, exceeds `x`."""
    return float(scipy.special.fdtrc(more, freedom, x))
