"""Checkpoints that are whole or not there, and that say so.

A checkpoint is a folder `step-00001000/` with `state.pt` (tensors and plain values only, read with
`weights_only=True`) and `manifest.json` (step, size, SHA-256). It is written under another name,
synced and renamed, so a kill at any moment leaves the previous ones untouched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adana.runs import RunError, read_json, write_json

CHECKPOINT_VERSION = 1
_PREFIX = "step-"
_UNFINISHED = ".unfinished-"


class CheckpointVersionError(RunError):
    """A whole checkpoint in a format of another version: to be kept, not to be passed over."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `state` as the checkpoint of `step`, then drop all but the newest `keep`.

    Raises:
        RunError: it could not be written (a full disk, say); older checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{_PREFIX}{step:08d}"
    unfinished = folder / f"{_UNFINISHED}{final.name}"
    for leftover in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        unfinished.mkdir()
        path = unfinished / "state.pt"
        with open(path, "wb") as file:
            torch.save({"version": CHECKPOINT_VERSION, "step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        manifest = {"step": step, "bytes": path.stat().st_size, "sha256": _sha256(path)}
        write_json(unfinished / "manifest.json", manifest)
        if final.exists():
            shutil.rmtree(final)
        os.rename(unfinished, final)
        _sync_folder(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"cannot write the checkpoint {final}: {reason}. Earlier checkpoints are intact. "
            "Free some space, then run the same command again to go on."
        ) from error
    for old in list_checkpoints(folder)[:-keep] if keep > 0 else []:
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in `folder`, oldest first."""
    return sorted(path.parent for path in folder.glob(f"{_PREFIX}*/manifest.json"))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify one checkpoint.

    Raises:
        RunError: a file is missing, truncated or altered, or another version wrote it.
    """
    manifest = read_json(path / "manifest.json")
    file = path / "state.pt"
    if not file.exists() or file.stat().st_size != manifest.get("bytes"):
        raise RunError(f"{file} is truncated: expected {manifest.get('bytes')} bytes")
    if _sha256(file) != manifest.get("sha256"):
        raise RunError(f"{file} was altered after it was written: its checksum does not match")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    if state.get("version") != CHECKPOINT_VERSION:
        raise CheckpointVersionError(
            f"{file} has checkpoint version {state.get('version')!r}, this adana reads "
            f"{CHECKPOINT_VERSION}. Go on with the adana that wrote it (environment.json names "
            "it), or train into a new directory."
        )
    return state


def load_newest(folder: Path, on_message: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the newest checkpoint that verifies, or None if there is none.

    Broken ones are passed over with a message: training from an older one gives the same result.
    `CheckpointVersionError` for one of another version.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except CheckpointVersionError:
            raise
        except (RunError, OSError, RuntimeError) as error:
            on_message(f"passing over a broken checkpoint: {error}")
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can sync a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
