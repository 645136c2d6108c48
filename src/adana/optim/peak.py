"""The learning-rate multiplier gamma = lr / peak, and the error where it would exceed 1."""

from __future__ import annotations

from adana import schedules


def multiplier(lr: float, peak: float, where: str) -> float:
    """Return gamma = lr / peak.

    Raises:
        ValueError: the learning rate is above its peak, so that decay would be too strong, or it
            is no number of at least 0. `where` says in words where to pass the peak.
    """
    if lr > peak * (1 + schedules.PEAK_TOLERANCE):
        raise ValueError(
            f"the learning rate {lr:g} is above its peak {peak:g}; weight decay scales with "
            f"lr / peak. Pass the highest learning rate of the run as peak_lr to {where} "
            "(CyclicLR and learning-rate finders need it), or later by reschedule(peak_lr=...)."
        )
    if not lr >= 0:
        raise ValueError(f"the learning rate is {lr:g}, expected a number of at least 0")
    return lr / peak if peak > 0 else 0.0
