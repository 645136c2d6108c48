"""Trackers by name, and what to install for each."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

from adana.trackers.base import Tracker
from adana.trackers.tensorboard import TensorBoard
from adana.trackers.trackio import Trackio
from adana.trackers.wandb import WandB


class _Entry(NamedTuple):
    kind: type[Tracker]
    package: str


TRACKERS: dict[str, _Entry] = {
    TensorBoard.name: _Entry(TensorBoard, "tensorboard"),
    WandB.name: _Entry(WandB, "wandb"),
    Trackio.name: _Entry(Trackio, "trackio"),
}
"""The trackers there are: what each is called, its class and the package it needs."""


def open_trackers(names: Sequence[str]) -> list[Tracker]:
    """Return the trackers called `names`, not started yet.

    Raises:
        ValueError: a name is unknown or given twice, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"unknown tracker {name!r}, expected one of {', '.join(TRACKERS)}")
        package = TRACKERS[name].package
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"the tracker {name} needs the package {package}, which is not installed. "
                f'Install it with: pip install "adana[{name}]"'
            )
    if len(set(names)) < len(names):
        raise ValueError(f"a tracker is named twice in {' '.join(names)}; name each once")
    return [TRACKERS[name].kind() for name in names]
