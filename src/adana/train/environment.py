"""What a run needs to be told apart from the same run elsewhere."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from adana import schedules
from adana.train.config import LayoutConfig

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "scipy")


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, machine and device as plain values for ``environment.json``."""
    return {
        "adana": metadata.version("adana"),
        "python": sys.version.split()[0],
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def session_record(here: Mapping[str, Any], layout: LayoutConfig, from_step: int) -> dict[str, Any]:
    """Return what is kept of a session when later ones have written `here`, where they are."""
    kept = ("micro_batch", "parallel", "compile", "loss_chunk", "keep_every")
    return {
        "from_step": from_step,
        **_versions(here),
        **{name: here[name] for name in ("device", "processor", "ranks", "threads")},
        **{name: getattr(layout, name) for name in kept},
    }


def other_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which versions two contents of ``environment.json`` differ in; "" if in none."""
    old, new = _versions(before), _versions(now)
    changed = [name for name in old if old[name] != new[name]]
    if not changed:
        return ""
    texts = [f"{name} {old[name]}, now {new[name]}" for name in changed]
    return (
        f"the last session had {' and '.join(texts)}: the end may differ from that of one version. "
        "environment.json lists the sessions"
    )


def _versions(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions that decide what is computed, as far as known."""
    known = {**content, **content.get("packages", {})}
    return {name: known[name] for name in ("adana", "torch") if name in known}


def hyperparameters(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what the optimizer's first (decayed) group was made with, its own defaults included.

    Left out is what is no plain value, and what has not been given.
    """
    group = optimizer.param_groups[0]
    if "clip_snr" in group and group["clip_snr"] is None:  # it follows from kappa at each step
        group = {**group, "clip_snr": schedules.default_clip_snr(group["kappa"])}
    return {key: value for key, value in group.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device on a GPU, of this process (resident) on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # noqa: PLC0415 - not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
