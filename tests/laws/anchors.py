"""The reference's published best losses, as curves (tests/golden/scaling_anchors.csv)."""

import csv
from pathlib import Path

from adana.laws import Curve, Observation

FILE = Path(__file__).parents[1] / "golden" / "scaling_anchors.csv"


def anchor_rows():
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    return [{key: float(text) for key, text in row.items()} for row in csv.DictReader(lines)]


def anchor_curves():
    rows = anchor_rows()
    return [
        Curve(name, tuple(Observation(row["compute"], (row[name],)) for row in rows))
        for name in ("adamw", "dana_mk4")
    ]
