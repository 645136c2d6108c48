"""Trackers by name: those of this package with what to install for each, and other packages'.

A package says which trackers it brings under the group `adana.trackers` of its metadata, as it does
for optimizers (docs/runs.md). It is imported when its tracker is asked for by name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

from adana.trackers.base import Tracker
from adana.trackers.tensorboard import TensorBoard
from adana.trackers.trackio import Trackio
from adana.trackers.wandb import WandB

GROUP = "adana.trackers"
"""The entry points that are looked at."""

PARTS = ("name", "forgets", "queues", "start", "log", "finish")
"""What a tracker has (`Tracker`)."""


class _Entry(NamedTuple):
    kind: type[Tracker]
    package: str


TRACKERS: dict[str, _Entry] = {
    TensorBoard.name: _Entry(TensorBoard, "tensorboard"),
    WandB.name: _Entry(WandB, "wandb"),
    Trackio.name: _Entry(Trackio, "trackio"),
}
"""The trackers of this package: what each is called, its class and the package it needs."""


def open_trackers(names: Sequence[str]) -> list[Tracker]:
    """Return the trackers called `names`, not started yet.

    A name of this package's stands for its own, whatever other packages bring.

    Raises:
        ValueError: a name is unknown or given twice, its package is not installed, or what another
            package brings is no tracker.
    """
    if len(set(names)) < len(names):
        raise ValueError(f"a tracker is named twice in {' '.join(names)}; name each once")
    return [_own(name) if name in TRACKERS else _brought(name) for name in names]


def _own(name: str) -> Tracker:
    entry = TRACKERS[name]
    if importlib.util.find_spec(entry.package) is None:
        raise ValueError(
            f"the tracker {name} needs the package {entry.package}, which is not installed. "
            f'Install it with: pip install "adana[{name}]"'
        )
    return entry.kind()


def _brought(name: str) -> Tracker:
    """Return the tracker that another package brings under this name."""
    points = list(metadata.entry_points(group=GROUP, name=name))
    packages = sorted({_package_of(point) for point in points})
    if not points:
        others = sorted({point.name for point in metadata.entry_points(group=GROUP)})
        known = ", ".join(dict.fromkeys([*TRACKERS, *others]))
        raise ValueError(
            f"unknown tracker {name!r}, expected one of {known}, or one that an installed package "
            f"brings (entry points {GROUP})"
        )
    if len(packages) > 1:
        raise ValueError(
            f"{' and '.join(packages)} all bring a tracker {name!r}; uninstall all but one, or "
            "give them other names"
        )
    where = f"the tracker {name!r} of {packages[0]}"
    try:
        tracker: Any = points[0].load()()
    except Exception as error:
        raise ValueError(
            f"{where} cannot be had: making {points[0].value} failed with "
            f"{type(error).__name__}: {error}"
        ) from error
    missing = [part for part in PARTS if not hasattr(tracker, part)]
    if missing:
        raise ValueError(
            f"{where} is none, it has no {', '.join(missing)}: {points[0].value} must be a class "
            "with all that adana.trackers.Tracker has"
        )
    if tracker.name != name:
        raise ValueError(f"{where} calls itself {tracker.name!r}; its `name` must be {name!r}")
    found: Tracker = tracker
    return found


def _package_of(point: metadata.EntryPoint) -> str:
    dist = point.dist
    return "a package without a name" if dist is None else f"{dist.name} {dist.version}"
