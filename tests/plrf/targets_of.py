"""Rows of the reference numbers copied from the specification."""

import csv
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).parent / "targets"


def grouped_rows(name, keys):
    """Rows of a file as dicts of text, by the numbers (or words) in the columns `keys`."""
    groups = defaultdict(list)
    with (FOLDER / name).open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            groups[tuple(_value(row[key]) for key in keys)].append(row)
    return groups


def _value(text):
    try:
        return float(text)
    except ValueError:
        return text
