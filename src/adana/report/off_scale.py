"""What a chart of losses does not show: those of an optimizer that learned nothing.

One run that ends at 28 nats would set the axis, and all others lie on one line. So where a loss is
well above that of guessing, the axis ends there, and a cross at its top stands for what is off it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from adana.report import drawing
from adana.report import vega as alt
from adana.report.drawing import inline, rounded
from adana.report.reading import guessing
from adana.report.records import Record

MARGIN = 1.05
"""Times ln V: an untrained model is a little worse than one that guesses among all tokens."""

CROSSES = (
    f"A cross at the top is a loss off the scale: more than {100 * (MARGIN - 1):.0f} % above ln V, "
    "what guessing among the V tokens gives."
)
"""The sentence that a caption owes its reader."""

Rows = list[dict[str, Any]]


def ceiling(records: Iterable[Record]) -> float:
    """Return the highest loss (nats a token) that a chart of these runs shows; may be infinite."""
    known = [loss for record in records if (loss := guessing(record.config)) is not None]
    return rounded(MARGIN * max(known)) if known else math.inf


def domain(rows: Sequence[dict[str, Any]], top: float) -> tuple[float, float] | None:
    """Return the axis of these losses if some, but not all, are above `top`; else None."""
    losses = [row["loss"] for row in rows]
    inside = [loss for loss in losses if loss <= top]
    return (min(inside), top) if inside and len(inside) < len(losses) else None


def shown(rows: Sequence[dict[str, Any]], ends: tuple[float, float] | None) -> Rows:
    """Return the rows whose loss is on the axis."""
    return [row for row in rows if ends is None or row["loss"] <= ends[1]]


def crosses(
    rows: Sequence[dict[str, Any]],
    ends: tuple[float, float] | None,
    by: str,
    encodings: Sequence[Any],
    hidden: Sequence[str] = (),
) -> list[Any]:
    """Return a layer with a cross at the top for every row whose loss is off the axis, if any."""
    off = [row | {"top": ends[1]} for row in rows if ends is not None and row["loss"] > ends[1]]
    if not off:
        return []
    cross = alt.Chart(inline(off)).mark_point(shape="cross", angle=45, size=80, filled=True)
    return [
        cross.encode(
            *encodings,
            alt.Y("top:Q"),
            opacity=drawing.highlight(by, 1.0),
            tooltip=drawing.tooltips(off[0], (*hidden, "top")),
        )
    ]
