"""The report of a comparison as one HTML page: what was found, and everything behind it.

The tables and the verdict are plain HTML and stand without JavaScript.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adana.report import charts, tables, words
from adana.report.compare import Comparison, Row
from adana.report.off_scale import CROSSES
from adana.report.page import figure, page
from adana.report.records import Record, flatten
from adana.runs import write_bytes

TEXTS = {
    "validation": (
        "Validation loss",
        "Thin lines are single seeds, bold lines their mean; a dashed line is a run that did not "
        "finish. Both axes are logarithmic. Only the right end counts: on the way there, a curve "
        f"also shows how far the learning rate has already come down. {CROSSES}",
    ),
    "multiplier": (
        "What the difference is worth in compute",
        "The grey line is the baseline trained for several lengths. From a candidate's point, the "
        "dotted line runs at equal loss to that curve: where it ends is the compute the baseline "
        "needs, and the ratio is the multiplier M. Bars are one standard error over seeds. The "
        "baseline keeps its peak learning rate at all lengths; compute is that of the model "
        f"(6 P D), without the optimizer's own time. {CROSSES}",
    ),
    "sweep": (
        "Learning-rate sweep",
        "One training a point, with the first seed; the lowest point of each curve is the learning "
        "rate used above. A lowest point at the edge means that the best rate may lie outside. "
        f"{CROSSES}",
    ),
    "training": (
        "Training loss",
        "The loss of the batches being trained on, so noisier than validation loss. A gap that is "
        f"here but not in validation loss would be memorisation. {CROSSES}",
    ),
    "schedule-lr": (
        "Learning rate",
        "The peak, which is the learning rate of the table, times gamma(t): it rises during "
        "warm-up, then decays.",
    ),
    "schedule-ema_m": (
        "First-moment memory",
        "Weight of the newest gradient in the average m. A constant is a fixed memory of about "
        "1 / (1 \N{MINUS SIGN} β₁) steps, as in AdamW; a falling straight line is log-time "
        "memory, which grows with the age of the run.",
    ),
    "schedule-ema_v": (
        "Second-moment memory",
        "The same for v, the average of squared gradients that scales each step.",
    ),
    "schedule-momentum": (
        "Momentum multiplier",
        "Factor on the average m in the update. For AdamW it is the correction of the first steps, "
        "which ends at 1; a log-time optimizer lets it grow with its memory.",
    ),
    "schedule-decay": (
        "Weight decay",
        "Share of each weight removed in a step; an optimizer without decay has no line.",
    ),
}
"""Title and caption of each chart, by the names of `charts.all_charts`."""


FEW = 8
"""Different values of one setting that a page shows."""


def write_report(comparison: Comparison, path: Path | str) -> None:
    """Write the report to `path`, atomically."""
    write_bytes(Path(path), render(comparison).encode())


def render(comparison: Comparison) -> str:
    """Return the report as one HTML page."""
    figures = [
        figure(name, *TEXTS[name], chart) for name, chart in charts.all_charts(comparison).items()
    ]
    differing, shared = settings(comparison)
    return page(
        "report.html.j2",
        figures,
        title=tables.title(comparison),
        comparison=comparison,
        verdict=words.verdict(comparison),
        notes=tables.notes(comparison),
        results=_table(tables.RESULTS, comparison.all_rows),
        cost=_table(tables.COST, comparison.rows),
        figures={f.name: f for f in figures if not f.name.startswith("schedule-")},
        schedules=[f for f in figures if f.name.startswith("schedule-")],
        differing=differing,
        shared=shared,
        sources={f"{label}: lr": text for label, text in comparison.sources.items()},
        environment=environments(comparison.records),
        outcome=words.outcome,
    )


def settings(comparison: Comparison) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the settings that differ between optimizers, a value a label, and the shared ones."""
    configs = []
    for group in comparison.main:
        config = group.records[0].config
        flat = flatten({key: config[key] for key in config if key not in ("seed", "provenance")})
        configs.append({key: _value(value) for key, value in flat.items()})
    keys = sorted({key for config in configs for key in config})
    values = {key: [config.get(key, words.NONE) for config in configs] for key in keys}
    differing = {key: row for key, row in values.items() if len(set(row)) > 1}
    return differing, {key: row[0] for key, row in values.items() if key not in differing}


def _table(columns: Iterable[tables.Column], rows: Iterable[Row]) -> dict[str, Any]:
    columns = list(columns)
    return {
        "columns": columns,
        "rows": [[column.cell(row) for column in columns] for row in rows],
    }


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def environments(records: Iterable[Record]) -> dict[str, str]:
    """Return what ran the runs; where runs differ, all values, joined."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        flat: Mapping[str, Any] = flatten(record.environment)
        for key, value in flat.items():
            found.setdefault(key, {})[_value(value)] = None
    return {key: joined(found[key]) for key in sorted(found)}


def joined(values: Iterable[str]) -> str:
    """Return different values in one line; of many, the first ones and how many there are."""
    values = list(values)
    if len(values) <= FEW:
        return " / ".join(values)
    return f"{' / '.join(values[:FEW])} / ... ({len(values)} values)"
