"""In what settings runs differ, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adana.report.records import flatten

ABSENT = "-"
"""What stands for a key that a configuration does not have."""

WORDS = "provenance."
"""Where numbers come from in words: no setting."""


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the keys in which nested configurations differ, with the value of each as text.

    >>> differences([{"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.2}, "seed": 0}])
    {'optimizer.lr': ['0.1', '0.2']}
    """
    flat = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config if not key.startswith(WORDS))
    table = {key: [_text(config, key) for config in flat] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _text(config: Mapping[str, Any], key: str) -> str:
    if key not in config:
        return ABSENT
    value = config[key]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
