"""The chart of the ratios: a bar for each optimizer, a panel for each list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from adana.report.drawing import BASELINE_COLOR, PALETTE, inline, save_static

OURS, THEIRS = "this package", "others"
LONGEST = 8.0
"""Ratio at which a bar is cut, its number beside it: Muon's products would hide all others."""


def draw(rows: Sequence[dict[str, Any]], reference: str, path: Path) -> None:
    """Write the chart: medians of the ratio to `reference` as bars, the middle half as lines."""
    data = [
        {
            "list": f"{row['list']} ({row['millions']:.4g} M, {row['tensors']} tensors)",
            "optimizer": row["optimizer"],
            **{name: min(row[name], LONGEST) for name in ("ratio", "ratio_low", "ratio_high")},
            "text": f"{row['ratio']:.2f}" + (" (cut)" if row["ratio"] > LONGEST else ""),
            "whose": OURS if row["ours"] else THEIRS,
        }
        for row in rows
    ]
    order = list(dict.fromkeys(row["optimizer"] for row in data))
    lists = list(dict.fromkeys(row["list"] for row in data))
    color = alt.Color("whose:N", title=None, legend=alt.Legend(orient="top")).scale(
        domain=[OURS, THEIRS], range=[PALETTE[1], BASELINE_COLOR]
    )
    y = alt.Y("optimizer:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    title = f"time of a step / {reference} (bar: median, line: middle half of the rounds)"
    values = inline(data)
    base = alt.Chart(values).encode(y=y)
    bars = base.mark_bar(opacity=0.75).encode(x=alt.X("ratio:Q", title=title), color=color)
    spread = base.mark_rule(strokeWidth=2).encode(x="ratio_low:Q", x2="ratio_high:Q")
    one = alt.Chart(values).mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(1))
    text = base.mark_text(align="left", dx=6).encode(x="ratio_high:Q", text="text:N")
    panel = alt.layer(bars, spread, one, text).properties(width=520, height=alt.Step(16))
    header = alt.Header(labelOrient="top", labelAngle=0, labelAnchor="start")
    row = alt.Row("list:N", title=None, sort=lists, header=header)
    chart = panel.facet(row=row).resolve_scale(x="independent", y="independent")
    save_static(chart, path)
