"""Loading Triton kernels: their text as a module in the cache folder, as Triton wants it.

Triton reads the source of a kernel from its file, compiles it for the GPU at hand when it is first
launched, and keeps the result in a cache of its own. It comes with torch where there are GPUs it
knows; nothing here imports it before a kernel is wanted.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from adana import places
from adana.optim.kernel.c_library import CannotCompile, kernel_folder

CAPABILITY = (8, 0)
"""The oldest GPUs whose bfloat16 and NaN-aware minimum Triton compiles."""

log = logging.getLogger("adana")


def why_not(device: torch.device) -> str | None:
    """Return why no kernel can run on `device`, or None if one can."""
    return _why_not(device, interpreted())


@functools.cache
def _why_not(device: torch.device, interpreted: bool) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    if interpreted:
        return None
    if device.type != "cuda":
        return f"Triton kernels run on CUDA devices, not on {device.type}"
    found = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and found < CAPABILITY:
        return f"{device} has compute capability {found[0]}.{found[1]}, and 8.0 is needed"
    return None


def interpreted() -> bool:
    """Return whether Triton interprets kernels, on any device: for tests, and slow."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


@functools.cache
def loaded(text: str) -> Any:
    """Return the kernel `adana_step` of a module's text.

    Raises:
        CannotCompile: Triton is missing, or the text cannot be kept or imported.
    """
    name = f"adana_step_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    try:
        path = _kept(text, f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where Triton and pickle look for it
        spec.loader.exec_module(module)
    except (OSError, ImportError) as error:
        sys.modules.pop(name, None)
        raise CannotCompile(f"a Triton kernel could not be loaded: {error}") from error
    return module.adana_step


def _kept(text: str, name: str) -> Path:
    """Return a file with this text: kept for later processes, or of this one where that fails."""
    try:
        return _written(text, places.folder_of_code(kernel_folder()) / name)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        log.warning("kernels cannot be kept (%s): set ADANA_CACHE to a folder of yours", error)
        return _written(text, Path(_temporary().name) / name)


def _written(text: str, target: Path) -> Path:
    """Write a file in full or not at all, unless it is there."""
    if target.exists() and target.read_bytes() == text.encode():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        made = Path(beside) / target.name
        made.write_bytes(text.encode())
        os.replace(made, target)
    return target


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="adana-")
