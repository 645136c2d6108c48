"""Numbers of a search for tables and charts: how far it came, and with how many digits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from adana.searches import SearchAt


def progress(scale: SearchAt) -> Iterator[tuple[int, float, float]]:
    """Yield (trainings, device-seconds, best loss) as a search went on.

    The best is the lowest mean over the seeds of the search of any configuration that had all of
    them by then; seeds beyond, which measured noise, count as trainings only.
    """
    seen: dict[str, list[float]] = {}
    best, seconds = math.inf, 0.0
    seeded = len({trial["config"].get("seed") for trial in scale.trials}) > 1
    for count, trial in enumerate(scale.trials, start=1):
        seconds += trial["seconds"]
        config = dict(trial["config"])
        if not seeded or config.pop("seed", 0) < scale.seeds:
            losses = seen.setdefault(repr(sorted(config.items())), [])
            losses.append(trial["loss"])
            if len(losses) == scale.seeds:
                best = min(best, math.fsum(losses) / len(losses))
        if math.isfinite(best):
            yield count, seconds, best


def decimals_of(scale: SearchAt) -> int:
    """Return the decimals that losses need to show what counts as a difference, at least 4."""
    smallest = scale.delta1 or 1e-4
    return max(4, 1 - math.floor(math.log10(smallest)))


def loss_text(loss: float, decimals: int) -> str:
    """Say a loss; an infinite one is a divergence."""
    return f"{loss:.{decimals}f}" if math.isfinite(loss) else "diverged"


def plain(value: Any) -> str:
    """Say the value of a hyperparameter; equal numbers are the same text.

    >>> plain(16.0), plain(2e-3), plain("cosine")
    ('16', '0.002', 'cosine')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
