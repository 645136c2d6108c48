"""The names that metrics have in trackers: grouped by what they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GROUPS = {"train_": "train", "val_": "val"}
NOT_METRICS = frozenset({"step"})
"""Keys of a row that say where it stands."""


def flatten_row(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row of ``metrics.jsonl`` under flat names.

    Losses become ``train/loss`` and ``val/loss``; what stands beside them in a row joins the same
    group; nested values keep their path (``schedule/gamma``, ``timing/tokens_per_second``). The
    strings that stand for NaN and infinity in JSON are numbers again.

    >>> flatten_row({"step": 4, "tokens": 64, "train_loss": 2.5, "schedule": {"gamma": 0.5}})
    {'tokens': 64.0, 'train/loss': 2.5, 'schedule/gamma': 0.5}
    """
    group = "val" if "val_loss" in row else "train"
    flat: dict[str, float] = {}
    for key, value in row.items():
        if key in NOT_METRICS:
            continue
        name = key if key == "tokens" or isinstance(value, Mapping) else _grouped(key, group)
        _collect(name, value, flat)
    return flat


def _grouped(key: str, group: str) -> str:
    for prefix, own in _GROUPS.items():
        if key.startswith(prefix):
            return f"{own}/{key.removeprefix(prefix)}"
    return f"{group}/{key}"


def _collect(name: str, value: Any, flat: dict[str, float]) -> None:
    """Add the numbers in `value`; words and missing values have no place in a curve."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _collect(f"{name}/{key}", inner, flat)
    elif isinstance(value, int | float) or value in {"nan", "inf", "-inf"}:
        flat[name] = float(value)
