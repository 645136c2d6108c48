"""Whether the first decay of a run is reasonable: an error from all of a weight, a warning before.

Log-time decay is strongest at the first step. In short runs the default offset makes it so strong
that the weights hardly survive it.
"""

from __future__ import annotations

import warnings

STRONG = 0.2
"""Fraction of every weight in one step from which there is a warning: at the default omega and
offset, runs of fewer than 190 steps (ours: half of the weights is then gone after four steps)."""


def check_first_decay(first: float, omega: float, decay_offset: float) -> None:
    """Raise `ValueError` if the first step would remove the whole weight or more."""
    if first >= 1:
        raise ValueError(
            f"omega={omega} with decay_offset={decay_offset} would remove {first:.0%} of every "
            "weight at the first step. decay_offset is in steps; leave it out for the default, or "
            "choose one well above omega."
        )


def warn_of_strong_decay(
    fraction: float, omega: float, decay_offset: float | None, *, step: int = 1, stacklevel: int
) -> None:
    """Warn if `step`, the first by default, removes a `fraction` > `STRONG` of every weight.

    `decay_offset`, in steps, is None for constant decay. `stacklevel` counts from the caller, which
    is 1.
    """
    if fraction <= STRONG:
        return
    if decay_offset is None:
        why, advice = f"omega={omega:g}", "Pass a smaller omega or train for more steps"
    else:
        why = f"omega={omega:g} and decay_offset={decay_offset:g}"
        advice = (
            "Pass a smaller omega, train for more steps, or give the optimizer a decay_offset of "
            f"{omega / STRONG:.0f} steps or more"
        )
    when = "a step at the start of training" if step == 1 else f"step {step:,}"
    warnings.warn(
        f"weight decay removes {fraction:.0%} of every weight in {when}, at the peak learning rate "
        f"({why}). {advice}.",
        stacklevel=stacklevel + 1,
    )
